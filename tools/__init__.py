"""Commands around the package: demo, samples, export."""
