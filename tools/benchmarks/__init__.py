"""Measurements of the package's speed, and what it is measured against."""
