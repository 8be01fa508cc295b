"""From videos on disk to TFRecord shards."""
