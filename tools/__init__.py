"""Commands around the package: demo, samples, export."""

from tf_dvdgan import onednn  # noqa: F401, turned on before TensorFlow loads
