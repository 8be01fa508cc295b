"""Layers of the video generators and discriminators, one idea a file."""

from tf_dvdgan.layers.conditional_batch_norm import BatchNorm, ConditionalBatchNorm
from tf_dvdgan.layers.conv_gru import ConvGRU
from tf_dvdgan.layers.res_blocks import DiscriminatorBlock, GeneratorBlock
from tf_dvdgan.layers.spectral_norm import (
    SpectralConv2D,
    SpectralConv3D,
    SpectralDense,
    SpectralEmbedding,
)

__all__ = [
    "BatchNorm",
    "ConditionalBatchNorm",
    "ConvGRU",
    "DiscriminatorBlock",
    "GeneratorBlock",
    "SpectralConv2D",
    "SpectralConv3D",
    "SpectralDense",
    "SpectralEmbedding",
]
