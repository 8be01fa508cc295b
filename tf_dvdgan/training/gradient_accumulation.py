"""Gradients of a batch in several passes, to save memory."""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from tf_dvdgan.layers import spectral_norm

Batch = Mapping[str, tf.Tensor]
# Gradients, and the values of metrics.
Pass = tuple[list[tf.Tensor], tf.Tensor]


def accumulate(
    function: Callable[[Batch, int | tf.Tensor], Pass],
    batch: Batch,
    num_passes: int,
    rows: int,
    variables: Sequence[tf.Variable],
    num_values: int,
) -> Pass:
    """Sums gradients and averages values over the passes of a batch.

    All passes use the same spectrally normalized kernels: the vectors are updated in
    the last one. Only R1, which scores again after the update, and the generated videos
    of a discriminator with batch norm, which are scored after the real ones, get
    slightly other ones in the last pass than before, until the vectors have converged.

    Args:
      function: computes gradients and values from a part of the batch and the number of
        its pass.
      batch: tensors `[num_passes * rows, ...]`.
      num_passes: number of passes.
      rows: number of samples of a pass.
      variables: variables to differentiate with respect to.
      num_values: number of values.

    Returns:
      The sums of the gradients, and the means of the values, `[num_values]`.
    """
    if num_passes == 1:
        return function(batch, 0)

    def add(i, gradients, values):
        part = {
            name: tf.slice(
                x, [i * rows] + [0] * (len(x.shape) - 1), [rows, *x.shape[1:]]
            )
            for name, x in batch.items()
        }
        with spectral_norm.updating_if(tf.equal(i, num_passes - 1)):
            more, new = function(part, i)
        gradients = [a + b for a, b in zip(gradients, more, strict=True)]
        return i + 1, gradients, values + new / num_passes

    _, gradients, values = tf.while_loop(
        lambda i, *_: i < num_passes,
        add,
        (0, [tf.zeros(v.shape) for v in variables], tf.zeros([num_values])),
        parallel_iterations=1,
        maximum_iterations=num_passes,
    )
    return gradients, values
