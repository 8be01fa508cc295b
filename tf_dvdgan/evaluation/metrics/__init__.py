"""Metrics, one per file: pure functions of features or of videos."""
