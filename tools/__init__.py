"""Commands around the package: demo, samples, export."""

import tf_dvdgan  # noqa: F401, it turns on oneDNN before TensorFlow loads
