"""Samples videos from a generator.

Sample sheets, scores, commands, explorer and export all use `generate`, most of them
through a `Sampler`, which computes statistics, batches the latents and compiles.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan.data import transforms
from tf_dvdgan.layers import conditional_batch_norm
from tf_dvdgan.models import variables, video_gan
from tf_dvdgan.sampling import latents, standing_statistics

BATCH_SIZE = 16


def generate(
    networks: video_gan.Networks,
    z: tf.Tensor,
    labels: tf.Tensor | None,
    truncation: tf.Tensor,
    frames: tf.Tensor | None,
    statistics: conditional_batch_norm.AllStatistics,
) -> dict[str, tf.Tensor]:
    """Generates one batch of videos with given standing statistics.

    Args:
      networks: networks with trained weights.
      z: `[batch, latent.size]`, not truncated yet.
      labels: `[batch]` class numbers, or `[batch, num_classes]` float32 class weights;
        None for a model without classes.
      truncation: scalar, factor of z.
      frames: `[batch, frames, height, width, 3]` uint8, for a prediction model; None
        for others.
      statistics: result of `StandingStatistics.compute` for the truncation.

    Returns:
      "videos" `[batch, time, height, width, 3]` float32 in [-1, 1], and the generator's
      other outputs by name; masks are in [0, 1] and have one channel.
    """
    if labels is None:
        labels = tf.zeros([tf.shape(z)[0]], tf.int32)
    start = None if frames is None else transforms.to_unit_range(frames)
    conditioning = networks.conditioning(labels, start)
    return networks.generate(truncation * z, conditioning, statistics=statistics)


class Sampler:
    """Samples a generator with standing statistics, on one device or on all replicas.

    Computes the statistics once for each truncation, until `weights_changed` is called,
    and compiles the generator once for each batch size.

    Args:
      networks: networks with trained weights; those of a prediction model need a frame
        bank.
      strategy: strategy that the variables were created under, if any.
      num_batches: number of batches that statistics are averaged over.
      statistics_batch_size: size of these batches.

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
        """Discards the cached statistics; call it whenever the weights change."""
        self._statistics.clear()

    def statistics(self, truncation: float) -> conditional_batch_norm.AllStatistics:
        """Returns the standing statistics for a truncation."""
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
        """Generates videos; each depends only on its own row of the arguments.

        Under a strategy every replica generates all videos.

        Args:
          z: `[n, latent.size]`, not truncated yet.
          labels: `[n]` class numbers, or `[n, num_classes]` class weights.
          truncation: factor of z.
          frames: `[n, num_conditioning_frames, height, width, 3]` uint8, for a
            prediction model; by default the videos cycle through the frame bank.
          batch_size: batch size; does not affect the videos.

        Returns:
          "videos" and the generator's other outputs by name, each
          `[n, time, height, width, 3]` uint8; masks are gray.
        """
        z, labels = np.asarray(z, np.float32), _as_array(labels)
        if not self.networks.generator.num_conditioning_frames:
            frames = None
        elif frames is None:
            frames = in_turn(self.networks.require_frame_bank(), len(z))
        size = min(batch_size, len(z))

        def batch_of(rows: np.ndarray, first: int) -> tf.Tensor:
            return tf.constant(_padded(rows[first : first + size], size))

        batches = []
        for i in range(0, len(z), size):
            outputs = self.on_replicas(
                batch_of(z, i),
                batch_of(labels, i),
                None if frames is None else batch_of(frames, i),
                truncation,
            )
            batches.append({name: self._on_host(x) for name, x in outputs.items()})
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
        """Generates one batch on every replica.

        The arguments are the same tensors for all replicas, or per-replica values.

        Args:
          z: `[batch, latent.size]`, not truncated yet.
          labels: `[batch]` class numbers, or `[batch, num_classes]` class weights.
          frames: `[batch, num_conditioning_frames, height, width, 3]` uint8, for a
            prediction model; None for others.
          truncation: factor of z.

        Returns:
          "videos" and the generator's other outputs by name, each
          `[batch, time, height, width, 3]` uint8, as per-replica values.
        """
        factor = tf.constant(truncation, tf.float32)
        return self._compiled(z, labels, frames, factor, self.statistics(truncation))

    @tf.function(autograph=False)
    def _compiled(self, z, labels, frames, truncation, statistics):
        def on_replica(z, labels, frames, truncation, statistics):
            outputs = generate(self.networks, z, labels, truncation, frames, statistics)
            return {n: transforms.to_uint8(_in_color(x)) for n, x in outputs.items()}

        rows = (z, labels, frames, truncation, statistics)
        return self.strategy.run(on_replica, args=rows)

    def _on_host(self, x: tf.Tensor) -> np.ndarray:
        return self.strategy.experimental_local_results(x)[0].numpy()

    @contextlib.contextmanager
    def standing(self, truncation: float = 1.0) -> Iterator[None]:
        """Makes generator calls with `training=False` use the standing statistics."""
        norms = conditional_batch_norm.layers_of(self.networks.generator)
        statistics = self.statistics(truncation)
        with conditional_batch_norm.use_statistics(norms, statistics):
            yield

    def from_mixture(
        self, count: int, seed: int, batch_size: int = BATCH_SIZE
    ) -> tuple[np.ndarray, int]:
        """Samples an autoencoder, from a mixture fitted to the frame bank's codes.

        Args:
          count: number of videos.
          seed: seed of the mixture and its samples.
          batch_size: batch size of encoder and decoder.

        Returns:
          `[count, time, height, width, 3]` uint8, and the number of components of the
          mixture.
        """
        bank, generator = self.networks.require_frame_bank(), self.networks.generator
        with self.standing():
            codes = [
                generator.encode(
                    transforms.to_unit_range(bank[i : i + batch_size]), training=False
                ).numpy()
                for i in range(0, len(bank), batch_size)
            ]
            mixture = latents.fit_mixture(
                np.concatenate(codes).astype(np.float64), seed=seed
            )
            drawn = mixture.sample(count)[0].astype(np.float32)
            videos = [
                transforms.to_uint8(
                    generator.decoder(drawn[i : i + batch_size])["videos"]
                )
                for i in range(0, count, batch_size)
            ]
        return np.concatenate(videos), mixture.n_components


def in_turn(items: np.ndarray, count: int) -> np.ndarray:
    """Cycles through items.

    Args:
      items: `[n, ...]`.
      count: number of items to return.

    Returns:
      `[count, ...]`.
    """
    return items[np.arange(count) % len(items)]


def fingerprint(arrays: Sequence[np.ndarray]) -> str:
    """Computes a SHA-256 of the shapes and values of arrays."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(str(array.shape).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def fingerprint_of_weights(networks: video_gan.Networks) -> dict[str, str]:
    """Computes SHA-256 of a generator's weights and state, the same on any device."""
    generator = networks.generator
    return {
        "weights": fingerprint([v.numpy() for v in generator.trainable_variables]),
        "state": fingerprint([v.numpy() for v in variables.state_of(generator)]),
        "precision": networks.precision,
    }


def hashes_of_model(networks: video_gan.Networks) -> dict[str, str]:
    """Computes a SHA-256 of what samples depend on, the same of a run and its exports.

    Args:
      networks: the networks of a model.

    Returns:
      "model", of the trainable weights, with kernels rounded to float16, as an exported
      run has them; "model's state", of the precision and `variables.state_of`, rounded
      alike; and "frame bank", if the model has one: of the frames that its standing
      statistics are computed with.
    """
    weights, state = (
        [variables.as_exported(variable.numpy()) for variable in of]
        for of in (
            networks.generator.trainable_variables,
            variables.state_of(networks.generator),
        )
    )
    precision = np.frombuffer(networks.precision.encode(), np.uint8)
    found = {
        "model": fingerprint(weights),
        "model's state": fingerprint([precision, *state]),
    }
    if networks.frame_bank is not None:
        found["frame bank"] = fingerprint([networks.frame_bank])
    return found


def _as_array(labels: Sequence[int] | np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    return labels.astype(np.int32 if labels.ndim == 1 else np.float32)


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    """Repeats the last row up to the batch size, because each size is compiled."""
    return np.concatenate([rows, rows[-1:].repeat(size - len(rows), axis=0)])


def _in_color(part: tf.Tensor) -> tf.Tensor:
    """Converts a mask in [0, 1] with one channel to a gray video in [-1, 1]."""
    return tf.repeat(2.0 * part - 1.0, 3, -1) if part.shape[-1] == 1 else part
