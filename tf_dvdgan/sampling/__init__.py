"""Sampling a generator: latents, standing statistics, videos."""
