"""Videos of a generator: the one way from latents to frames.

Sample sheets, scores, commands, explorer and export all sample through `generate`, by a
`Sampler` where weights change or videos are many.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan.data import transforms
from tf_dvdgan.layers import conditional_batch_norm
from tf_dvdgan.models import vgan, video_gan
from tf_dvdgan.sampling import standing_statistics

BATCH_SIZE = 16  # videos at a time


def generate(
    networks: video_gan.Networks,
    z: tf.Tensor,
    labels: tf.Tensor | None,
    truncation: tf.Tensor,
    frames: tf.Tensor | None,
    statistics: conditional_batch_norm.AllStatistics,
) -> dict[str, tf.Tensor]:
    """Generates one batch of videos, with the standing statistics of its truncation.

    Args:
      networks: with weights in place.
      z: `[batch, latent.size]`, not truncated yet.
      labels: `[batch]` class numbers, or `[batch, num_classes]` float32 weights of
        classes; None for a model without classes.
      truncation: scalar, factor of z.
      frames: `[batch, frames, height, width, 3]` uint8 to start from; None for a model
        that starts from none.
      statistics: of `StandingStatistics.compute`.

    Returns:
      "videos" `[batch, time, height, width, 3]` float32 in [-1, 1], and the parts that
      the generator shows (a mask in [0, 1] has one channel).
    """
    if labels is None:
        labels = tf.zeros([tf.shape(z)[0]], tf.int32)
    start = None if frames is None else transforms.to_unit_range(frames)
    conditioning = networks.conditioning(labels, start)
    return networks.generate(truncation * z, conditioning, statistics=statistics)


class Sampler:
    """Samples a generator with standing statistics, on one device or on all replicas.

    Statistics are computed once for each truncation, until `weights_changed` is called;
    the generator is compiled once for each batch size.

    Args:
      networks: with weights in place; where the generator starts from frames, with a
        frame bank.
      strategy: that the variables were made under; None outside a strategy.
      num_batches: batches that statistics are averaged over.
      statistics_batch_size: videos of each of them.

    Attributes:
      networks: as given.
      strategy: as given.
      num_batches: as given.
    """

    def __init__(
        self,
        networks: video_gan.Networks,
        strategy: tf.distribute.Strategy | None = None,
        num_batches: int = standing_statistics.NUM_BATCHES,
        statistics_batch_size: int = standing_statistics.BATCH_SIZE,
    ):
        self.networks = networks
        self.strategy = strategy or tf.distribute.get_strategy()
        self.num_batches = num_batches
        self._compute = standing_statistics.StandingStatistics(
            networks, statistics_batch_size, self.strategy
        ).compute
        self._statistics: dict[float, conditional_batch_norm.AllStatistics] = {}

    def weights_changed(self) -> None:
        """Forgets the statistics: they were those of other weights."""
        self._statistics.clear()

    def statistics(self, truncation: float) -> conditional_batch_norm.AllStatistics:
        """Standing statistics of a truncation."""
        if truncation not in self._statistics:
            computed = self._compute(self.num_batches, truncation)
            self._statistics[truncation] = computed
        return self._statistics[truncation]

    def sample(
        self,
        z: np.ndarray | tf.Tensor,
        labels: Sequence[int] | np.ndarray,
        truncation: float = 1.0,
        frames: np.ndarray | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> dict[str, np.ndarray]:
        """Generates videos; each depends only on its own row.

        Under a strategy every replica generates all of them.

        Args:
          z: `[n, latent.size]`, not truncated yet.
          labels: `[n]` class numbers, or `[n, num_classes]` weights of classes.
          truncation: factor of z.
          frames: `[n, num_conditioning_frames, height, width, 3]` uint8, for a
            generator that starts from frames; by default those of the frame bank, in
            turn.
          batch_size: videos at a time; it does not change them.

        Returns:
          "videos" and the parts that the generator shows, each
          `[n, time, height, width, 3]` uint8; masks are grey.
        """
        z, labels = np.asarray(z, np.float32), _as_array(labels)
        given = self.networks.generator.num_conditioning_frames
        if not given:
            frames = None
        elif frames is None:
            frames = in_turn(self.networks.frame_bank, len(z))
        size = min(batch_size, len(z))
        batches = []
        for i in range(0, len(z), size):
            rows = [
                None if x is None else tf.constant(_filled(x[i : i + size], size))
                for x in (z, labels, frames)
            ]
            made = self.on_replicas(*rows, truncation=truncation)
            batches.append({name: self._on_host(x) for name, x in made.items()})
        return {
            name: np.concatenate([batch[name] for batch in batches])[: len(z)]
            for name in batches[0]
        }

    def on_replicas(
        self,
        z: tf.Tensor,
        labels: tf.Tensor,
        frames: tf.Tensor | None = None,
        truncation: float = 1.0,
    ) -> dict[str, tf.Tensor]:
        """Generates one batch on every replica, of rows that all share or of its own.

        Args:
          z: `[batch, latent.size]`, not truncated yet.
          labels: `[batch]` class numbers, or `[batch, num_classes]` weights of classes.
          frames: `[batch, num_conditioning_frames, height, width, 3]` uint8; None for a
            generator that starts from none.
          truncation: factor of z.

        Returns:
          As `sample`, on each replica.
        """
        factor = tf.constant(truncation, tf.float32)
        return self._compiled(z, labels, frames, factor, self.statistics(truncation))

    @tf.function(autograph=False)
    def _compiled(self, z, labels, frames, truncation, statistics):
        def on_replica(z, labels, frames, truncation, statistics):
            made = generate(self.networks, z, labels, truncation, frames, statistics)
            return {n: transforms.to_uint8(_in_colour(x)) for n, x in made.items()}

        rows = (z, labels, frames, truncation, statistics)
        return self.strategy.run(on_replica, args=rows)

    def _on_host(self, x: tf.Tensor) -> np.ndarray:
        return self.strategy.experimental_local_results(x)[0].numpy()

    @contextlib.contextmanager
    def standing(self, truncation: float = 1.0) -> Iterator[None]:
        """Inside, calls of the generator with `training=False` use its statistics."""
        norms = conditional_batch_norm.layers_of(self.networks.generator)
        statistics = self.statistics(truncation)
        with conditional_batch_norm.use_statistics(norms, statistics):
            yield

    def from_mixture(
        self, count: int, seed: int, batch_size: int = BATCH_SIZE
    ) -> tuple[np.ndarray, int]:
        """Samples an autoencoder: codes from a mixture fitted to its frame bank's.

        Args:
          count: how many.
          seed: of the mixture and its samples.
          batch_size: videos at a time.

        Returns:
          `[count, time, height, width, 3]` uint8, and the mixture's number of
          components.
        """
        bank, generator = self.networks.frame_bank, self.networks.generator
        with self.standing():
            codes = [
                generator.encode(
                    transforms.to_unit_range(bank[i : i + batch_size]), training=False
                ).numpy()
                for i in range(0, len(bank), batch_size)
            ]
            codes = np.concatenate(codes).astype(np.float64)
            mixture = vgan.fit_mixture(codes, seed=seed)
            drawn = mixture.sample(count)[0].astype(np.float32)
            videos = [
                transforms.to_uint8(
                    generator.decoder(drawn[i : i + batch_size])["videos"]
                )
                for i in range(0, count, batch_size)
            ]
        return np.concatenate(videos), mixture.n_components


def in_turn(items: np.ndarray, count: int) -> np.ndarray:
    """Repeats items in their order until there are as many as wanted.

    Args:
      items: `[n, ...]`.
      count: how many to return.

    Returns:
      `[count, ...]`.
    """
    return items[np.arange(count) % len(items)]


def fingerprint(arrays: Sequence[np.ndarray]) -> str:
    """SHA-256 of arrays' shapes and values."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(str(array.shape).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def fingerprint_of_weights(network: tf.keras.Model) -> str:
    """SHA-256 of a network's trainable weights, the same wherever it runs."""
    return fingerprint([variable.numpy() for variable in network.trainable_variables])


def _as_array(labels: Sequence[int] | np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    return labels.astype(np.int32 if labels.ndim == 1 else np.float32)


def _filled(rows: np.ndarray, size: int) -> np.ndarray:
    """Rows of one batch size, the last one repeated: another size would be compiled."""
    return np.concatenate([rows, rows[-1:].repeat(size - len(rows), axis=0)])


def _in_colour(part: tf.Tensor) -> tf.Tensor:
    """A mask in [0, 1], one channel, as a grey video in [-1, 1]."""
    return tf.repeat(2.0 * part - 1.0, 3, -1) if part.shape[-1] == 1 else part
