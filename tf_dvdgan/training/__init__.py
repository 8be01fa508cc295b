"""Training: the step (`trainer`), the outer loop, checkpoints and summaries."""
