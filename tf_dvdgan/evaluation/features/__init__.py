"""Feature networks, their input, and the extraction of features from clips."""
