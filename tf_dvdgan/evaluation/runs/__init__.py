"""Scores of models, folders of clips and checkpoints of runs, by named protocols."""
