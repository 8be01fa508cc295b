"""Benchmarks of the package's speed against baselines; not installed."""
