"""Prepares videos on disk as TFRecord shards."""

from tf_dvdgan import onednn  # noqa: F401, turned on before TensorFlow loads
