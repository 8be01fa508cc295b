"""Gradient checkpointing (Chen et al., 2016): trades time for memory.

A layer called through `checkpoint` stores only its inputs for the gradient, and its
forward pass runs again in the backward pass. Gradients and state equal those of a plain
call: kernels are normalized once, outside the part that runs twice, and batch norm
updates no state in training.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tf_dvdgan.layers import spectral_norm


def maybe_checkpoint(chosen: bool | Sequence[int], i: int) -> Callable[..., tf.Tensor]:
    """Selects whether the layers of one block use gradient checkpointing.

    Args:
      chosen: whether all blocks use it, or the numbers of those that do.
      i: number of the block.

    Returns:
      `checkpoint`, or a plain call with the same signature.
    """
    is_chosen = chosen if isinstance(chosen, bool) else i in chosen
    return checkpoint if is_chosen else _call


def _call(
    layer: tf.keras.layers.Layer, *inputs: object, training: bool | None
) -> tf.Tensor:
    return layer(*inputs, training=training)


def checkpoint(
    layer: tf.keras.layers.Layer, *inputs: object, training: bool | None
) -> tf.Tensor:
    """Calls a layer with gradient checkpointing.

    Args:
      layer: must be built; may hold variables and spectrally normalized layers.
      *inputs: positional arguments of the layer; tensors must be floating point.
      training: whether a gradient will be taken; if not, this is a plain call.

    Returns:
      The layer's output, one tensor `[batch, ...]`.
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
