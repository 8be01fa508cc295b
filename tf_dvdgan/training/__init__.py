"""Training: the step (`trainer`), the loop around it, and what the loop keeps."""
