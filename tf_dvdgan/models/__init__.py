"""Models, one paper per file; `video_gan` composes a generator and discriminators.

Papers are cited by number:

- 001: Clark, Donahue and Simonyan, Adversarial video generation on complex datasets,
  2019 (arXiv:1907.06571), the final version: DVD-GAN v2.
- 002: the same paper's first version, Efficient video generation on complex datasets:
  DVD-GAN v1. (000 is a summary of it.)
- 003: Munoz, Zolfaghari, Argus and Brox, Multi-variate temporal GAN for large scale
  video generation, 2020: MVT-GAN.
- 004: Vondrick, Pirsiavash and Torralba, Generating videos with scene dynamics, 2016:
  VGAN.
"""
