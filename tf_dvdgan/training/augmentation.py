"""Differentiable augmentation of clips, real and generated, before the discriminators.

The generator's gradient passes through the transforms, so both sides of the comparison
are augmented in both updates, and the generator learns clips without the transforms
(DiffAugment: Zhao et al., 2020, section 3.2). A clip gets one draw for all of its
frames, so its motion stays true.
"""

import numbers
from collections.abc import Callable

import gin
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.training import adaptation as adaptation_lib

# Uniform random numbers per clip: whether each group applies, then its parameters.
_APPLY_COLOR, _APPLY_ZOOM, _APPLY_TRANSLATION, _APPLY_CUTOUT = range(4)
_APPLY_FLIP, _APPLY_REVERSE, _BRIGHTNESS, _SATURATION, _CONTRAST = range(4, 9)
_ZOOM, _SHIFT_Y, _SHIFT_X, _CUT_Y, _CUT_X, _FLIP, _REVERSE = range(9, 16)
NUM_UNIFORMS = 16


@gin.register(module="augmentation")
class Augmentation(tf.Module):
    """Random transforms of clips, each applied with the same probability.

    The defaults are DiffAugment's color, translation and cutout. A value of 0 or False
    turns a transform off. Transforms apply in the order of the arguments from `flip`;
    color comes first.

    Args:
      brightness: largest change of all values, in units of half the range: clips are
        from -1 to 1.
      saturation: largest change of the factor of the distance from gray, around 1.
      contrast: largest change of the factor of the distance from the clip's mean,
        around 1.
      flip: whether to mirror half of the clips, left to right. Not for data in which
        directions have a meaning, such as text or classes of directions.
      reverse: whether to play half of the clips backwards. Not for data in which time
        has a direction.
      zoom: largest factor of magnification minus 1; the factor is between
        1 / (1 + zoom) and 1 + zoom, uniform in its logarithm. Bilinear; what comes from
        outside of the frame is gray.
      translation: largest shift, as a fraction of height and width. What comes from
        outside of the frame is gray.
      cutout: side of the rectangle that is made gray, as a fraction of height and
        width. Its center is anywhere in the frame.
      probability: probability of each of color, flip, reversal, zoom, translation and
        cutout; with `adaptation`, at the first step.
      adaptation: creates the adaptation of the probability; None for a constant one,
        which only alarms raise.

    Attributes:
      probability: variable, the current probability.
      num_raises: variable, how often an alarm has raised it.
      adaptation: as created, or None.

    Raises:
      InvalidValueError: a value is out of range.
    """

    def __init__(
        self,
        brightness: float = 0.5,
        saturation: float = 1.0,
        contrast: float = 0.5,
        flip: bool = False,
        reverse: bool = False,
        zoom: float = 0.0,
        translation: float = 0.125,
        cutout: float = 0.5,
        probability: float = 1.0,
        adaptation: Callable[[], adaptation_lib.Adaptation] | None = None,
    ):
        super().__init__(name="augmentation")
        ranges = {
            "brightness": (brightness, 2.0),
            "saturation": (saturation, 1.0),
            "contrast": (contrast, 1.0),
            "zoom": (zoom, 1.0),
            "translation": (translation, 1.0),
            "cutout": (cutout, 1.0),
            "probability": (probability, 1.0),
        }
        for name, (value, most) in ranges.items():
            if not isinstance(value, numbers.Real) or not 0.0 <= value <= most:
                raise errors.InvalidValueError(
                    f"{name} must be from 0 to {most:g}. Received: {value!r}"
                )
        self.brightness = brightness
        self.saturation = saturation
        self.contrast = contrast
        self.flip = flip
        self.reverse = reverse
        self.zoom = zoom
        self.translation = translation
        self.cutout = cutout
        self._configured = float(probability)
        self.probability = _state(self._configured, "probability")
        self.num_raises = _state(tf.constant(0, tf.int64), "num_raises")
        if adaptation is not None:
            errors.check_creates("adaptation", adaptation)
        self.adaptation = adaptation() if adaptation else None

    def adapt(self, signs: tf.Tensor, num_clips: int) -> None:
        """Adapts the probability after an update of the discriminators.

        Args:
          signs: mean sign of each discriminator's scores of training clips, over all
            replicas, `[discriminators]`.
          num_clips: training clips of the update, over all replicas.
        """
        if self.adaptation:
            adapted = self.adaptation.adapted(self.probability, signs, num_clips)
            self.probability.assign(adapted)

    @property
    def is_always_applied(self) -> bool:
        """Whether the probability is 1 for the whole run."""
        return self._configured >= 1.0 and not self.adaptation

    def resume(self, by: float) -> None:
        """Gives a constant probability its configured value, and the raises of the run.

        Args:
          by: how much each raise is.
        """
        if not self.adaptation:
            raised = self._configured + int(self.num_raises.numpy()) * by
            self.probability.assign(min(raised, 1.0))

    def raise_probability(self, by: float, times: int = 1) -> float:
        """Raises the probability, after an alarm.

        Args:
          by: how much to raise it each time, up to 1.
          times: number of raises.

        Returns:
          The new probability.
        """
        self.num_raises.assign_add(times)
        if self.adaptation:
            self.probability.assign(tf.minimum(self.probability + times * by, 1.0))
        else:
            self.resume(by)
        return float(self.probability.numpy())

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the values of `metrics`."""
        overfitting = ["augmentation/overfitting"] if self.adaptation else []
        return ("augmentation/probability", *overfitting)

    def metrics(self) -> tf.Tensor:
        """Values of `metric_names`, `[1]` or `[2]`.

        They are the current probability, and the measure of overfitting that it
        follows.
        """
        overfitting = [self.adaptation.overfitting] if self.adaptation else []
        return tf.stack([self.probability, *overfitting])

    def __call__(self, videos: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
        """Transforms clips.

        Args:
          videos: `[batch, time, height, width, 3]` in [-1, 1].
          uniforms: `[batch, NUM_UNIFORMS]` in [0, 1).

        Returns:
          `[batch, time, height, width, 3]`; values may be outside of [-1, 1].
        """
        draw = _Draw(uniforms, self.probability)
        if self.brightness or self.saturation or self.contrast:
            videos = self._with_color(videos, draw)
        if self.reverse:
            backwards = draw.happens(_APPLY_REVERSE) & (draw.uniform(_REVERSE) < 0.5)
            backwards = backwards[:, tf.newaxis, tf.newaxis, tf.newaxis, tf.newaxis]
            videos = tf.where(backwards, tf.reverse(videos, [1]), videos)
        if self.flip or self.zoom or self.translation:
            videos = self._moved(videos, draw)
        if self.cutout:
            videos = self._with_cutout(videos, draw)
        return videos

    def _with_color(self, videos: tf.Tensor, draw: "_Draw") -> tf.Tensor:
        applies = draw.happens(_APPLY_COLOR)

        def around(center: float, number: int, largest: float) -> tf.Tensor:
            change = largest * (2.0 * draw.uniform(number) - 1.0)
            value = tf.where(applies, center + change, center)
            return tf.reshape(value, [-1, 1, 1, 1, 1])

        videos += around(0.0, _BRIGHTNESS, self.brightness)
        gray = tf.reduce_mean(videos, axis=-1, keepdims=True)
        videos = gray + around(1.0, _SATURATION, self.saturation) * (videos - gray)
        mean = tf.reduce_mean(videos, axis=[1, 2, 3, 4], keepdims=True)
        return mean + around(1.0, _CONTRAST, self.contrast) * (videos - mean)

    def _moved(self, videos: tf.Tensor, draw: "_Draw") -> tf.Tensor:
        """Flips, zooms and shifts by one matrix product for each axis."""
        height, width = videos.shape[2:4]
        flipped = draw.happens(_APPLY_FLIP) & (draw.uniform(_FLIP) < 0.5)
        if not self.flip:
            flipped = tf.zeros_like(flipped)
        exponent = 2.0 * draw.uniform(_ZOOM) - 1.0
        factor = tf.pow(1.0 + self.zoom, exponent)
        factor = tf.where(draw.happens(_APPLY_ZOOM), factor, 1.0)
        shifts = [
            tf.where(
                draw.happens(_APPLY_TRANSLATION),
                _whole(draw.uniform(number), round(self.translation * size)),
                0.0,
            )
            for number, size in ((_SHIFT_Y, height), (_SHIFT_X, width))
        ]
        rows = _sampling(height, shifts[0], factor, tf.zeros_like(flipped))
        columns = _sampling(width, shifts[1], factor, flipped)
        videos = tf.einsum("bij,btjwc->btiwc", rows, videos)
        return tf.einsum("bij,bthjc->bthic", columns, videos)

    def _with_cutout(self, videos: tf.Tensor, draw: "_Draw") -> tf.Tensor:
        inside = []
        for number, size in zip((_CUT_Y, _CUT_X), videos.shape[2:4], strict=True):
            side = round(self.cutout * size)
            center = tf.floor(draw.uniform(number) * (size + 1 - side % 2))
            first = center[:, tf.newaxis] - side // 2
            position = tf.range(size, dtype=tf.float32)
            inside.append((position >= first) & (position < first + side))
        cut = inside[0][:, :, tf.newaxis] & inside[1][:, tf.newaxis]
        cut &= draw.happens(_APPLY_CUTOUT)[:, tf.newaxis, tf.newaxis]
        kept = 1.0 - tf.cast(cut, tf.float32)
        return videos * kept[:, tf.newaxis, :, :, tf.newaxis]


class _Draw:
    """The random numbers of a batch of clips."""

    def __init__(self, uniforms: tf.Tensor, probability: float | tf.Tensor):
        self._uniforms = uniforms
        self._probability = probability

    def uniform(self, number: int) -> tf.Tensor:
        return self._uniforms[:, number]

    def happens(self, number: int) -> tf.Tensor:
        return self.uniform(number) < self._probability


def _whole(uniform: tf.Tensor, largest: int) -> tf.Tensor:
    """Whole numbers from -largest to largest."""
    return tf.floor(uniform * (2 * largest + 1)) - largest


def _sampling(
    size: int, shift: tf.Tensor, factor: tf.Tensor, flipped: tf.Tensor
) -> tf.Tensor:
    """Matrices `[batch, size, size]` that flip, magnify and then shift one axis.

    Row i has the bilinear weights of the pixels that pixel i comes from; zeros for what
    is outside.
    """
    position = tf.range(size, dtype=tf.float32)
    center = (size - 1) / 2
    source = position[tf.newaxis] - shift[:, tf.newaxis]
    source = center + (source - center) / factor[:, tf.newaxis]
    source = tf.where(flipped[:, tf.newaxis], size - 1 - source, source)
    distance = tf.abs(source[:, :, tf.newaxis] - position)
    return tf.nn.relu(1.0 - distance)


def _state(value: float | tf.Tensor, name: str) -> tf.Variable:
    return tf.Variable(
        value,
        trainable=False,
        name=name,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
