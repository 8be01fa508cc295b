"""Records, manifests, readers, and video files."""
