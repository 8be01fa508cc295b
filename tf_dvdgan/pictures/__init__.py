"""Files of generated videos: samples, predictions, interpolations, units.

The functions behind `tools.sample`, `tools.predict`, `tools.interpolate` and
`tools.units`. Each file contains its metadata as JSON (model, weights, seed, class,
truncation): PNG's text, GIF's comment, MP4's comment and description.
"""
