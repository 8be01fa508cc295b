"""A generator that one can sample, from a run's directory or a SavedModel alike.

    generator = generators.open_generator(model_dir="RUN", step="best")
    generator = generators.open_generator(None, saved_model="RUN/export/1300")
    z = sampling.latents(generator.latent, count=4, seed=0)
    videos = generator.videos(z, labels=[0, 0, 1, 1], truncation=0.5)

`videos` takes latents as they are drawn and multiplies them by the truncation itself,
because statistics belong to it, too: both sources give the same videos, to rounding,
for the truncations that a SavedModel keeps statistics of. Between them it interpolates
statistics, while a run makes them for just that truncation.
"""

import abc
import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, sampling, trained, version
from tf_dvdgan.data import files, readers, transforms
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import standing_statistics

DESCRIPTION = "generator.json"  # an asset of our SavedModels


class Generator(abc.ABC):
    """What makes videos of latents and classes.

    Attributes:
      class_names: of the classes; one name if it knows none.
      resolution: height and width.
      num_frames: of a video, conditioning frames included.
      num_conditioning_frames: how many frames of a video are given; 0 for none.
      stride: every n-th frame of a clip is seen in training.
      window: what was taken of its data, for reading clips that are alike.
      latent: distribution of z, for `sampling.latents`.
      name: model and step, for titles.
      facts: model, step, digest of the weights and this package's version: what a
        file's metadata says of where it comes from.
    """

    def __init__(self, description: dict[str, Any]):
        self.class_names: list[str] = description["class_names"]
        self.num_conditioning_frames: int = description["num_conditioning_frames"]
        self.window = readers.Window(**description["window"])
        self.resolution = self.window.resolution
        self.num_frames = self.window.num_frames
        self.stride = self.window.stride
        self.latent = video_gan.GaussianLatent(**description["latent"])
        self.facts: dict[str, Any] = description["facts"]
        self.name = f"{self.facts['model']}, step {self.facts['step']}"

    @property
    def is_autoencoder(self) -> bool:
        """Whether it gives whole clips back; a latent has nothing to say then."""
        return self.num_conditioning_frames == self.num_frames

    def check_makes_videos(self) -> None:
        """Refuses an autoencoder.

        Raises:
          UserError: it is one.
        """
        if self.is_autoencoder:
            raise errors.UserError(
                f"{self.name} is an autoencoder: it gives whole clips back, and makes "
                "none of latents; python -m tools.sample draws from a run's."
            )

    def label_of(self, name: str) -> int:
        """A class's number, from its name or its number.

        Raises:
          UserError: there is no such class.
        """
        names = self.class_names
        if name in names:
            return names.index(name)
        if name.isdigit() and int(name) < len(names):
            return int(name)
        raise errors.UserError(
            f"The model knows no class {name!r}; it has {len(names)}, named "
            f"{', '.join(names[:5])}{', …' if len(names) > 5 else ''}."
            + errors.did_you_mean(name, names)
        )

    def videos(
        self,
        z: np.ndarray | tf.Tensor,
        labels: Sequence[int] | np.ndarray,
        truncation: float = 1.0,
        frames: np.ndarray | None = None,
        batch_size: int = 16,
    ) -> np.ndarray:
        """Makes videos; each depends on its own row alone.

        Args:
          z: `[n, latent.size]`, not truncated yet.
          labels: `[n]` class numbers, or `[n, num_classes]` float weights of classes.
          truncation: factor of z; statistics are those made for it.
          frames: `[n, num_conditioning_frames, height, width, 3]` uint8 that a model
            which wants them starts from; by default in turn those that its run kept.
          batch_size: how many are made at a time; it does not change them.

        Returns:
          `[n, num_frames, height, width, 3]` uint8.

        Raises:
          UserError: the model starts from frames, and there are none; or it is an
            autoencoder.
        """
        self.check_makes_videos()
        z = tf.convert_to_tensor(z, tf.float32)
        weights = self._class_weights(labels)
        if self.num_conditioning_frames and frames is None:
            frames = self._kept_frames(len(z))
        batches = []
        for i in range(0, len(z), batch_size):
            part = slice(i, i + batch_size)
            given = None if frames is None else tf.constant(frames[part])
            made = self._make(z[part], weights[part], truncation, given)
            batches.append(made.numpy())
        return np.concatenate(batches)

    def _class_weights(self, labels: Sequence[int] | np.ndarray) -> tf.Tensor:
        labels = np.asarray(labels)
        if labels.ndim == 1:
            labels = tf.one_hot(labels, len(self.class_names))
        return tf.cast(labels, tf.float32)

    @abc.abstractmethod
    def _kept_frames(self, count: int) -> np.ndarray:
        """So many clips' first frames, uint8."""

    @abc.abstractmethod
    def _make(
        self,
        z: tf.Tensor,
        class_weights: tf.Tensor,
        truncation: float,
        frames: tf.Tensor | None,
    ) -> tf.Tensor:
        """One batch of `videos`."""


def open_generator(
    model_dir: str | None,
    step: int | str | None = None,
    saved_model: str | None = None,
) -> Generator:
    """Opens a run's directory or a SavedModel.

    Args:
      model_dir: of a run.
      step: of the run: a checkpoint's number or 'best'; the newest by default.
      saved_model: folder that `tools.export` wrote, instead of a run.

    Raises:
      UserError: both are named or neither, or what is named is not there.
    """
    if bool(model_dir) == bool(saved_model):
        raise errors.UserError(
            "Name either a run's folder, --model_dir, or a SavedModel's, --saved_model."
        )
    if saved_model and step is not None:
        raise errors.UserError("A SavedModel holds one step: --step is of --model_dir.")
    if saved_model:
        return SavedModelGenerator(saved_model)
    return RunGenerator(trained.load(model_dir, step))


def describe(model: trained.TrainedModel) -> dict[str, Any]:
    """What `Generator` says of itself, as JSON can hold it."""
    generator, latent = model.gan.generator, model.gan.latent
    kind = type(generator)
    return {
        "class_names": model.class_names,
        "num_conditioning_frames": generator.num_conditioning_frames,
        "window": dataclasses.asdict(model.window),
        "latent": {"sizes": latent.sizes, "stddevs": latent.stddevs},
        "facts": {
            "model": f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}",
            "step": model.step,
            "weights": sampling.digest_of_weights(generator),
            "version": version.__version__,
        },
    }


class RunGenerator(Generator):
    """A run's generator; statistics are made for each truncation that is asked for.

    Args:
      model: with its weights in place; its statistics are made again.
      num_batches: that statistics are made of.
      batch_size: of those batches.

    Attributes:
      model: as given.
      gan: what it samples.
    """

    def __init__(
        self,
        model: trained.TrainedModel,
        num_batches: int = standing_statistics.NUM_BATCHES,
        batch_size: int = standing_statistics.BATCH_SIZE,
    ):
        super().__init__(describe(model))
        self.model = model
        self.gan = model.gan
        self._num_batches = num_batches
        self._accumulator = standing_statistics.StandingStatistics(
            model.gan, batch_size
        )
        self._statistics: dict[float, dict] = {}

    def from_mixture(self, count: int, seed: int) -> tuple[np.ndarray, int]:
        """An autoencoder's samples; see `sampling.from_mixture`."""
        self._accumulator.accumulate(self._num_batches)
        return sampling.from_mixture(self.gan, count, seed)

    def parts(
        self,
        z: np.ndarray | tf.Tensor,
        labels: Sequence[int] | np.ndarray,
        frames: np.ndarray | None = None,
        truncation: float = 1.0,
    ) -> dict[str, np.ndarray]:
        """What a generator's videos are put together from.

        Args:
          z: see `videos`, as for the others.
          labels: see there.
          frames: see there.
          truncation: see there.

        Returns:
          "videos" and, of VGAN with two streams, "foreground", "background" and "mask",
          each `[n, num_frames, height, width, 3]` uint8.
        """
        self._accumulator.accumulate(self._num_batches, truncation)
        if self.num_conditioning_frames and frames is None:
            frames = self._kept_frames(len(z))
        start = None if frames is None else transforms.to_unit_range(frames)
        given = self.gan.conditioning(self._class_weights(labels), start)
        return sampling.generate(self.gan, truncation * z, given)

    def activations(
        self, frames: np.ndarray, layer: int, batch_size: int = 64
    ) -> np.ndarray:
        """Hidden units of what reads the first frame of VGAN's future predictor.

        Args:
          frames: `[n, height, width, 3]` uint8.
          layer: which convolution, counted from 1.
          batch_size: how many at a time; it does not change them.

        Returns:
          `[n, height', width', units]` float32.
        """
        self._accumulator.accumulate(self._num_batches)
        parts = []
        for i in range(0, len(frames), batch_size):
            part = transforms.to_unit_range(frames[i : i + batch_size, np.newaxis])
            found = self.gan.generator.activations(part, training=False)[layer - 1]
            parts.append(found[:, 0].numpy().astype(np.float32))
        return np.concatenate(parts)

    def _kept_frames(self, count: int) -> np.ndarray:
        bank = self.gan.frame_bank
        return bank[np.arange(count) % len(bank)]

    def _make(self, z, class_weights, truncation, frames):
        if truncation not in self._statistics:
            self._accumulator.accumulate(self._num_batches, truncation)
            made = standing_statistics.read(self.gan.generator)
            self._statistics[truncation] = made
        return self._compiled(
            z,
            class_weights,
            tf.constant(truncation, tf.float32),
            frames,
            self._statistics[truncation],
        )

    @tf.function(reduce_retracing=True, autograph=False)
    def _compiled(self, z, class_weights, truncation, frames, statistics):
        videos = sampling.render(
            self.gan, z, class_weights, truncation, frames, statistics
        )
        return transforms.to_uint8(videos)


class SavedModelGenerator(Generator):
    """A SavedModel that `export.export` wrote.

    Args:
      directory: where it lies.

    Attributes:
      directory: the same.
    """

    def __init__(self, directory: str):
        files.ready(directory)
        super().__init__(_read_description(directory))
        self.directory = directory
        self._model = tf.saved_model.load(directory)
        self._signature = self._model.signatures["generate_from_latents"]

    def _kept_frames(self, count: int) -> np.ndarray:
        raise errors.UserError(
            f"The model in {self.directory} starts from frames, and a SavedModel "
            "keeps none; python -m tools.predict continues a video with it."
        )

    def _make(self, z, class_weights, truncation, frames):
        given = {
            "z": z,
            "class_weights": class_weights,
            "truncation": tf.constant(truncation, tf.float32),
            "frames": frames,
        }
        wanted = self._signature.structured_input_signature[1]
        return self._signature(**{name: given[name] for name in wanted})["videos"]


def _read_description(directory: str) -> dict[str, Any]:
    path = os.path.join(directory, "assets", DESCRIPTION)
    if not tf.io.gfile.exists(os.path.join(directory, "saved_model.pb")):
        raise errors.UserError(f"{directory} holds no SavedModel (no saved_model.pb).")
    if not tf.io.gfile.exists(path):
        raise errors.UserError(
            f"The SavedModel in {directory} is none of this package's, or older than "
            f"this version: it has no assets/{DESCRIPTION}. Export the run again."
        )
    with tf.io.gfile.GFile(path) as file:
        return json.loads(file.read())
