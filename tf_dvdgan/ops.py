"""Pure functions of videos: fused convolutions, resampling and random selection.

Video tensors are `[batch, time, height, width, channels]`. Functions that work on
single frames also accept `[n, height, width, channels]`.
"""

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf
from tensorflow.python.framework import ops as tensorflow_ops

_fused = True


@contextlib.contextmanager
def reference_ops() -> Iterator[None]:
    """Disables the fused ops for all graphs traced in this context.

    Resampling is then an op of its own, and a recurrence convolves a constant input
    again at every step. The function and its variables do not change: use it to test
    the fused ops and to count the operations that they save.
    """
    global _fused  # for all threads: strategies trace replicas in their own
    before, _fused = _fused, False
    try:
        yield
    finally:
        _fused = before


def fused_ops_enabled() -> bool:
    """Whether ops are fused; `reference_ops` disables it."""
    return _fused


def custom_gradient(function: Callable) -> Callable:
    """`tf.custom_gradient` for functions of tensors, whose graphs can be freed.

    In a graph, TensorFlow registers each call's gradient in a table of the process, and
    the gradient refers to the graph. So the graph of every model that was ever traced
    would stay in memory. Here the graph owns its gradients, and the table does not.

    Args:
      function: takes tensors, returns a tensor and its gradient function.

    Returns:
      A function of the same tensors that returns the tensor.
    """
    differentiable = tf.custom_gradient(function)

    @functools.wraps(function)
    def call(*tensors: tf.Tensor) -> tf.Tensor:
        result = differentiable(*tensors)
        if not tf.executing_eagerly():
            _let_graph_own_gradient(result.op)
        return result

    return call


def _let_graph_own_gradient(op: tf.Operation) -> None:
    name = op.get_attr("_gradient_op_type").decode()
    table = tensorflow_ops.gradient_registry._registry
    gradient = table[name]["type"]
    table[name]["type"] = weakref.proxy(gradient)
    weakref.finalize(op.graph, table.pop, name, None).atexit = False
    if not hasattr(op.graph, "gradients_of_tf_dvdgan"):
        op.graph.gradients_of_tf_dvdgan = []
    op.graph.gradients_of_tf_dvdgan.append(gradient)


def on_frames(function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """Applies a function of images to every frame.

    Folds time into the batch, batch-major: the frames of sample b are rows b*T to
    b*T + T - 1.

    Args:
      function: maps `[n, height, width, channels]` to `[n, ...]`.
      x: `[batch, time, height, width, channels]`, or `[n, height, width, channels]`.

    Returns:
      `[batch, time, ...]`, or `[n, ...]` if `x` has no time: the output of `function`.
    """
    if x.shape.rank == 4:
        return function(x)
    num_frames = x.shape[1]
    y = function(tf.reshape(x, [-1, *x.shape[2:]]))  # [batch * time, ...]
    return tf.reshape(y, [-1, num_frames, *y.shape[1:]])  # [batch, time, ...]


def conv2d(
    x: tf.Tensor,
    kernel: tf.Tensor,
    resample: str | None = None,
    strides: int = 1,
    bias: tf.Tensor | None = None,
) -> tf.Tensor:
    """Convolves every frame ('SAME' padding), with resampling fused into the kernel.

    `resample='up'` equals nearest x2 upsampling followed by the convolution;
    `resample='down'` equals the convolution followed by 2x2 average pooling. Both are
    exact: a 3x3 kernel with resampling equals one 4x4 kernel with stride 2. A 1x1
    kernel commutes with resampling and runs at the smaller size.

    Args:
      x: `[batch, time, height, width, in]` or `[n, height, width, in]`.
      kernel: `[k, k, in, out]`; k is 1 or 3 with `resample`.
      resample: None, 'up' or 'down'.
      strides: of height and width; only without `resample`.
      bias: `[out]`, or None for no bias.

    Returns:
      `[batch, time, height', width', out]` or `[n, height', width', out]`.
    """
    if resample and not _fused:
        if resample == "up":
            return conv2d(upsample(x), kernel, bias=bias)
        return average_pool(conv2d(x, kernel, bias=bias))
    if resample and kernel.shape[0] == 1:
        if resample == "down":
            return conv2d(average_pool(x), kernel, bias=bias)
        return upsample(conv2d(x, kernel, bias=bias))
    if resample == "down":
        kernel = _sum_neighbors(kernel, axes=(0, 1)) / 4.0
        strides = 2
    elif resample == "up":
        kernel = _sum_neighbors(kernel, axes=(0, 1), flip=True)
        kernel = tf.transpose(kernel, [0, 1, 3, 2])

    def convolve(frames: tf.Tensor) -> tf.Tensor:
        if resample == "up":
            return add_bias(_conv2d_transpose(frames, kernel), bias)
        return add_bias(tf.nn.conv2d(frames, kernel, strides, "SAME"), bias)

    return on_frames(convolve, x)


def conv3d(
    x: tf.Tensor,
    kernel: tf.Tensor,
    pool: bool = False,
    pool_time: bool = True,
    strides: int = 1,
    bias: tf.Tensor | None = None,
) -> tf.Tensor:
    """Convolves a video in space and time ('SAME' padding), with optional pooling.

    Average pooling is fused into the kernel along each axis of even length, as in
    `conv2d`. An odd number of frames is pooled after the convolution; the last frame
    is then kept as it is.

    Args:
      x: `[batch, time, height, width, in]`.
      kernel: `[k, k, k, in, out]`; k is 1 or 3 with `pool`.
      pool: whether to halve height and width.
      pool_time: whether `pool` also halves time, rounded up.
      strides: of all three axes; only without `pool`.
      bias: `[out]`, or None for no bias.

    Returns:
      `[batch, time', height', width', out]`.
    """
    if not pool:
        return add_bias(same_conv3d(x, kernel, [strides] * 3), bias)
    if not _fused:
        return average_pool(conv3d(x, kernel, bias=bias), pool_time)
    if kernel.shape[0] == 1:
        return conv3d(average_pool(x, pool_time), kernel, bias=bias)
    merge_time = pool_time and x.shape[1] % 2 == 0
    axes = (0, 1, 2) if merge_time else (1, 2)
    merged = _sum_neighbors(kernel, axes) / 2.0 ** len(axes)
    x = add_bias(same_conv3d(x, merged, [2 if merge_time else 1, 2, 2]), bias)
    if pool_time and not merge_time:
        x = tf.nn.avg_pool3d(x, [2, 1, 1], [2, 1, 1], "SAME")
    return x


def same_conv3d(x: tf.Tensor, kernel: tf.Tensor, strides: Sequence[int]) -> tf.Tensor:
    """Convolves with 'SAME' padding; its gradients are right in bfloat16, too.

    oneDNN's bfloat16 gradient of a 3-D kernel is wrong where the input is smaller than
    the kernel along an axis: numbers up to 1e38, not finite ones, crashes (TensorFlow
    2.15 on a CPU with AVX-512). Here such an input gets the zeros of 'SAME' padding
    before the convolution, with which it is as large as the kernel.

    Args:
      x: `[batch, time, height, width, in]`.
      kernel: `[kt, kh, kw, in, out]`.
      strides: of time, height and width.

    Returns:
      `[batch, time / strides[0], height / strides[1], width / strides[2], out]`,
      rounded up.
    """
    window = [1, *strides, 1]
    axes = list(zip(x.shape[1:4], kernel.shape[:3], strides, strict=True))
    is_smaller = any(n is not None and n < k for n, k, _ in axes)
    if not (is_smaller and x.dtype == tf.bfloat16):
        return tf.nn.conv3d(x, kernel, window, "SAME")
    totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in axes]
    paddings = [(total // 2, total - total // 2) for total in totals]
    x = tf.pad(x, [(0, 0), *paddings, (0, 0)])
    return tf.nn.conv3d(x, kernel, window, "VALID")


def add_bias(x: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor:
    """Adds a bias right after a convolution, so that TensorFlow fuses the two.

    `tf.nn.bias_add`'s gradient sums bfloat16 numbers in bfloat16 on CPUs: 100,000 of
    them give a hundredth of their sum (TensorFlow 2.15). That of `+` sums in float32.

    Args:
      x: `[..., channels]`.
      bias: `[channels]`, or None for no bias.

    Returns:
      `[..., channels]`.
    """
    if bias is None:
        return x
    return x + bias if x.dtype == tf.bfloat16 else tf.nn.bias_add(x, bias)


def _sum_neighbors(
    kernel: tf.Tensor, axes: Sequence[int], flip: bool = False
) -> tf.Tensor:
    """Adds a kernel to itself, shifted by one tap along each axis: 3 taps become 4."""
    for axis in axes:
        first, middle, last = tf.split(kernel, 3, axis)
        taps = [first, first + middle, middle + last, last]
        kernel = tf.concat(taps[::-1] if flip else taps, axis)
    return kernel


def _conv2d_transpose(x: tf.Tensor, kernel: tf.Tensor, strides: int = 2) -> tf.Tensor:
    """Transposed convolution; `kernel` is `[k, k, out, in]`."""
    batch = x.shape[0] if x.shape[0] is not None else tf.shape(x)[0]
    height, width = strides * x.shape[1], strides * x.shape[2]
    output_shape = [batch, height, width, kernel.shape[2]]
    return tf.nn.conv2d_transpose(x, kernel, output_shape, strides, "SAME")


def conv2d_input_gradient(gradient: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Gradient of `conv2d` with respect to its input, without resampling.

    Args:
      gradient: `[batch, time, height, width, out]`, with respect to the output.
      kernel: `[k, k, in, out]`.

    Returns:
      `[batch, time, height, width, in]`.
    """
    return on_frames(lambda g: _conv2d_transpose(g, kernel, 1), gradient)


def conv2d_kernel_gradient(
    x: tf.Tensor, gradient: tf.Tensor, kernel_size: int
) -> tf.Tensor:
    """Gradient of `conv2d` with respect to its kernel, without resampling.

    Args:
      x: `[batch, time, height, width, in]`, the input.
      gradient: `[batch, time, height, width, out]`, with respect to the output.
      kernel_size: height and width of the kernel.

    Returns:
      `[kernel_size, kernel_size, in, out]`.
    """
    return tf.raw_ops.Conv2DBackpropFilter(
        input=tf.reshape(x, [-1, *x.shape[2:]]),
        filter_sizes=[kernel_size, kernel_size, x.shape[-1], gradient.shape[-1]],
        out_backprop=tf.reshape(gradient, [-1, *gradient.shape[2:]]),
        strides=[1, 1, 1, 1],
        padding="SAME",
    )


@custom_gradient
def upsample(x: tf.Tensor) -> tf.Tensor:
    """Nearest x2 upsampling of every frame; its gradient is scaled average pooling.

    Args:
      x: `[..., height, width, channels]`.

    Returns:
      `[..., 2 height, 2 width, channels]`.
    """

    def repeat(frames: tf.Tensor) -> tf.Tensor:
        _, height, width, channels = frames.shape
        tiled = tf.tile(
            tf.reshape(frames, [-1, height, 1, width, 1, channels]), [1, 1, 2, 1, 2, 1]
        )
        return tf.reshape(tiled, [-1, 2 * height, 2 * width, channels])

    return on_frames(repeat, x), lambda gradient: 4.0 * average_pool(gradient)


def average_pool(x: tf.Tensor, time: bool = False, factor: int = 2) -> tf.Tensor:
    """Average pools every frame by `factor` and, optionally, time by 2.

    Args:
      x: `[batch, time, height, width, channels]`, or without time.
      time: whether to pool time; the last of an odd number of frames is pooled only
        in space.
      factor: pooling window and stride of height and width.

    Returns:
      `[batch, time, height / factor, width / factor, channels]`, or without time.
      Pooled time is halved and rounded up.
    """
    if not time:
        return on_frames(lambda f: tf.nn.avg_pool2d(f, factor, factor, "VALID"), x)
    return tf.nn.avg_pool3d(x, [2, factor, factor], [2, factor, factor], "SAME")


def sample_frames(
    videos: tf.Tensor, uniform_noise: tf.Tensor, num_frames: int
) -> tf.Tensor:
    """Samples frames uniformly without replacement, independently for each video.

    Args:
      videos: `[batch, time, height, width, channels]`.
      uniform_noise: `[batch, time]` uniform noise; the frames with the largest values
        are picked.
      num_frames: number of frames to pick, at most `time`.

    Returns:
      `[batch, num_frames, height, width, channels]`.
    """
    picked = tf.math.top_k(uniform_noise, num_frames, sorted=False).indices
    return tf.gather(videos, picked, batch_dims=1)


def random_half_crop(videos: tf.Tensor, uniform_noise: tf.Tensor) -> tf.Tensor:
    """Crops each video to half its height and width, at its own random position.

    Args:
      videos: `[batch, time, height, width, channels]`.
      uniform_noise: `[batch, 2]` uniform noise in [0, 1), the vertical and horizontal
        position.

    Returns:
      `[batch, time, height // 2, width // 2, channels]`.
    """
    for axis, draw in ((2, uniform_noise[:, 0]), (3, uniform_noise[:, 1])):
        size = videos.shape[axis]
        num_positions = tf.cast(size - size // 2 + 1, draw.dtype)
        first = tf.cast(tf.floor(draw * num_positions), tf.int32)
        index = first[:, tf.newaxis] + tf.range(size // 2)
        videos = tf.gather(videos, index, axis=axis, batch_dims=1)
    return videos
