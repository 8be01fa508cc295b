"""Pure functions of tensors: frames, drawing, pooling and fused convolutions.

Video tensors are `[batch, time, height, width, channels]`. Functions of frames take
them as they are, or single frames `[batch, height, width, channels]`.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

_rewriting = True


@contextlib.contextmanager
def plain_form() -> Iterator[None]:
    """The one switch of the exact rewrites: graphs made within it go without them.

    Resampling is then done apart from convolving, and a recurrence convolves the same
    input again at every step: the same function and the same variables, with the work
    that the rewrites save, to count it and to compare.
    """
    global _rewriting
    _rewriting = False
    try:
        yield
    finally:
        _rewriting = True


def rewriting() -> bool:
    """Whether the exact rewrites are made; see `plain_form`."""
    return _rewriting


def on_frames(function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """Applies a function of images to every frame.

    Time folds into the batch with the batch outermost: the frames of sample b are
    rows b*T to b*T + T - 1.

    Args:
      function: maps `[n, height, width, channels]` to `[n, ...]`.
      x: `[batch, time, height, width, channels]`, or `[n, height, width, channels]`.

    Returns:
      What `function` gives, with time unfolded again where `x` had it.
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
    """Convolves every frame, 'SAME' padding, with resampling merged into the kernel.

    `resample='up'` equals nearest x2 upsampling followed by the convolution;
    `resample='down'` equals the convolution followed by 2x2 average pooling. Both are
    exact: the nine taps of a 3x3 kernel at the resampled grid are the sixteen of one
    4x4 kernel with stride 2. A 1x1 kernel commutes with both and is applied at the
    smaller size.

    Args:
      x: `[batch, time, height, width, in]` or `[n, height, width, in]`.
      kernel: `[k, k, in, out]`, k 1 or 3 where it resamples.
      resample: None, 'up' or 'down'.
      strides: plain strides, only without `resample`.
      bias: `[out]`, added to the result; None adds nothing.

    Returns:
      The frames convolved, at their own, double or half size.
    """
    if resample and not _rewriting:
        if resample == "up":
            return conv2d(upsample(x), kernel, bias=bias)
        return average_pool(conv2d(x, kernel, bias=bias))
    if resample and kernel.shape[0] == 1:
        if resample == "down":
            return conv2d(average_pool(x), kernel, bias=bias)
        return upsample(conv2d(x, kernel, bias=bias))
    if resample == "down":
        kernel = _sum_neighbours(kernel, axes=(0, 1)) / 4.0
        strides = 2
    elif resample == "up":
        kernel = _sum_neighbours(kernel, axes=(0, 1), flip=True)
        kernel = tf.transpose(kernel, [0, 1, 3, 2])

    def convolve(frames: tf.Tensor) -> tf.Tensor:
        if resample == "up":
            return _plus(_conv2d_transpose(frames, kernel), bias)
        return _plus(tf.nn.conv2d(frames, kernel, strides, "SAME"), bias)

    return on_frames(convolve, x)


def conv3d(
    x: tf.Tensor,
    kernel: tf.Tensor,
    pool: bool = False,
    pool_time: bool = True,
    strides: int = 1,
    bias: tf.Tensor | None = None,
) -> tf.Tensor:
    """Convolves a video in space and time, 'SAME' padding, then perhaps average pools.

    Pooling is merged into the kernel along each axis of even length, exactly as in
    `conv2d`. An odd number of frames is pooled after the convolution, its last frame
    alone.

    Args:
      x: `[batch, time, height, width, in]`.
      kernel: `[k, k, k, in, out]`, k 1 or 3 where it pools.
      pool: whether height and width are halved.
      pool_time: whether time is halved (rounded up) with them.
      strides: plain strides of all three axes, only without `pool`.
      bias: `[out]`, added to the result; None adds nothing.

    Returns:
      `[batch, time', height', width', out]`.
    """
    if not pool:
        y = tf.nn.conv3d(x, kernel, [1, *[strides] * 3, 1], "SAME")
        return _plus(y, bias)
    if not _rewriting:
        return average_pool(conv3d(x, kernel, bias=bias), pool_time)
    if kernel.shape[0] == 1:
        return conv3d(average_pool(x, pool_time), kernel, bias=bias)
    merge_time = pool_time and x.shape[1] % 2 == 0
    axes = (0, 1, 2) if merge_time else (1, 2)
    merged = _sum_neighbours(kernel, axes) / 2.0 ** len(axes)
    x = tf.nn.conv3d(x, merged, [1, 2 if merge_time else 1, 2, 2, 1], "SAME")
    x = _plus(x, bias)
    if pool_time and not merge_time:
        x = tf.nn.avg_pool3d(x, [2, 1, 1], [2, 1, 1], "SAME")
    return x


def _plus(x: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor:
    """Adds a bias next to its convolution, which TensorFlow then fuses."""
    return x if bias is None else tf.nn.bias_add(x, bias)


def _sum_neighbours(
    kernel: tf.Tensor, axes: Sequence[int], flip: bool = False
) -> tf.Tensor:
    """Sums a kernel with itself shifted by one tap along each axis: 3 taps give 4."""
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
    """Gradient of `conv2d`'s input, from that of its output; not resampled."""
    return on_frames(lambda g: _conv2d_transpose(g, kernel, 1), gradient)


def conv2d_kernel_gradient(
    x: tf.Tensor, gradient: tf.Tensor, kernel_size: int
) -> tf.Tensor:
    """Gradient of `conv2d`'s kernel; not resampled.

    Args:
      x: its input, `[batch, time, height, width, in]`.
      gradient: of its output, `[batch, time, height, width, out]`.
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


@tf.custom_gradient
def upsample(x: tf.Tensor) -> tf.Tensor:
    """Nearest x2 upsampling of every frame; its gradient sums by average pooling."""

    def repeat(frames: tf.Tensor) -> tf.Tensor:
        _, height, width, channels = frames.shape
        tiled = tf.tile(
            tf.reshape(frames, [-1, height, 1, width, 1, channels]), [1, 1, 2, 1, 2, 1]
        )
        return tf.reshape(tiled, [-1, 2 * height, 2 * width, channels])

    return on_frames(repeat, x), lambda gradient: 4.0 * average_pool(gradient)


def average_pool(x: tf.Tensor, time: bool = False, factor: int = 2) -> tf.Tensor:
    """Average pools every frame by `factor`, and time by 2 if asked.

    The last of an odd number of frames is averaged over the frames that exist.
    """
    if not time:
        return on_frames(lambda f: tf.nn.avg_pool2d(f, factor, factor, "VALID"), x)
    return tf.nn.avg_pool3d(x, [2, factor, factor], [2, factor, factor], "SAME")


def draw_frames(videos: tf.Tensor, draws: tf.Tensor, num_frames: int) -> tf.Tensor:
    """Picks frames of each video on its own, uniformly, without replacement.

    Args:
      videos: `[batch, time, height, width, channels]`.
      draws: `[batch, time]` uniform random numbers; they decide which.
      num_frames: how many to pick, at most `time`.

    Returns:
      `[batch, num_frames, height, width, channels]`.
    """
    picked = tf.math.top_k(draws, num_frames, sorted=False).indices
    return tf.gather(videos, picked, batch_dims=1)


def random_half_crop(videos: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Crops half the height and width of each video at a place of its own.

    Args:
      videos: `[batch, time, height, width, channels]`.
      draws: `[batch, 2]` uniform random numbers in [0, 1); they decide where.

    Returns:
      `[batch, time, height // 2, width // 2, channels]`.
    """
    for axis, draw in ((2, draws[:, 0]), (3, draws[:, 1])):
        size = videos.shape[axis]
        places = tf.cast(size - size // 2 + 1, draw.dtype)
        first = tf.cast(tf.floor(draw * places), tf.int32)
        index = first[:, tf.newaxis] + tf.range(size // 2)
        videos = tf.gather(videos, index, axis=axis, batch_dims=1)
    return videos
