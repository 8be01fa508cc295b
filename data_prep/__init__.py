"""From videos on disk to TFRecord shards."""

import tf_dvdgan  # noqa: F401, it turns on oneDNN before TensorFlow loads
