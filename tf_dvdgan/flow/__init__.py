"""Optical flow: PWC-Net, frozen and differentiable."""
