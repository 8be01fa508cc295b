"""Recomputation of activations (gradient checkpointing; Chen et al., 2016).

A layer that is called through `recompute` keeps its inputs alone for the gradient and
is run again when that is wanted: memory for time. Gradients and state are those of a
plain call: its kernels are normalized once, outside of what is run twice, and batch
norm keeps no state in training.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tf_dvdgan.layers import spectral_norm


def caller(chosen: bool | Sequence[int], i: int) -> Callable[..., tf.Tensor]:
    """How to call the layers of a network's part: `recompute`, or plainly.

    Args:
      chosen: numbers of the parts that recompute; True means all.
      i: number of the part.
    """
    recomputes = chosen if isinstance(chosen, bool) else i in chosen
    return recompute if recomputes else _call


def _call(
    layer: tf.keras.layers.Layer, *inputs: object, training: bool | None
) -> tf.Tensor:
    return layer(*inputs, training=training)


def recompute(
    layer: tf.keras.layers.Layer, *inputs: object, training: bool | None
) -> tf.Tensor:
    """Calls a layer; in training its activations are made again for the gradient.

    Args:
      layer: must be built; may hold variables, and spectrally normalized layers.
      *inputs: its arguments by position; tensors among them are floating point.
      training: whether a gradient will be taken; otherwise nothing is different.

    Returns:
      What the layer gives, one tensor.
    """
    if not training:
        return layer(*inputs, training=training)
    spectral = [
        part
        for part in (layer, *layer.submodules)
        if isinstance(part, spectral_norm.SpectralLayer)
    ]
    given = [i for i, value in enumerate(inputs) if tf.is_tensor(value)]

    @tf.recompute_grad
    def run(*tensors):
        arguments = list(inputs)
        for i, tensor in zip(given, tensors, strict=False):
            arguments[i] = tensor
        kernels = dict(zip(spectral, tensors[len(given) :], strict=True))
        with spectral_norm.use_kernels(kernels):
            return layer(*arguments, training=training)

    kernels = [part.normalized_kernel(training) for part in spectral]
    return run(*(inputs[i] for i in given), *kernels)
