"""Scores: by which protocol, of which clips, and of which checkpoints of a run."""
