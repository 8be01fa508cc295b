"""Layers of the video generators and discriminators."""

from tf_dvdgan.layers.attention import (
    FrameAttention,
    SelfAttention,
    SeparableAttention,
)
from tf_dvdgan.layers.conditional_batch_norm import BatchNorm, ConditionalBatchNorm
from tf_dvdgan.layers.conv_gru import ConvGRU, MultiplicativeConvGRU
from tf_dvdgan.layers.normalization import (
    ConditionalGroupNorm,
    ConditionalNoNorm,
    GroupNorm,
    NoNorm,
)
from tf_dvdgan.layers.res_blocks import (
    DeepDiscriminatorBlock,
    DeepGeneratorBlock,
    DiscriminatorBlock,
    GeneratorBlock,
)
from tf_dvdgan.layers.spectral_norm import (
    SpectralConv2D,
    SpectralConv3D,
    SpectralDense,
    SpectralEmbedding,
)
from tf_dvdgan.layers.temporal_shift import TemporalShift

__all__ = [
    "BatchNorm",
    "ConditionalBatchNorm",
    "ConditionalGroupNorm",
    "ConditionalNoNorm",
    "ConvGRU",
    "DeepDiscriminatorBlock",
    "DeepGeneratorBlock",
    "DiscriminatorBlock",
    "FrameAttention",
    "GeneratorBlock",
    "GroupNorm",
    "MultiplicativeConvGRU",
    "NoNorm",
    "SelfAttention",
    "SeparableAttention",
    "SpectralConv2D",
    "SpectralConv3D",
    "SpectralDense",
    "SpectralEmbedding",
    "TemporalShift",
]
