"""A generator that one can sample, from a run's directory or a SavedModel alike.

    generator = generators.open_generator(model_dir="RUN", step="best")
    generator = generators.open_generator(None, saved_model="RUN/export/1300")
    z = latents.draw(generator.latent, count=4, seed=0)
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

from tf_dvdgan import errors, trained, version
from tf_dvdgan.data import files, transforms, windows
from tf_dvdgan.models import video_gan
from tf_dvdgan.sampling import sampler as sampler_lib

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
      latent: distribution of z, for `latents.draw`.
      name: model and step, for titles.
      metadata: model, step, fingerprint of the weights and this package's version, for
        the files of its videos.
      place: run's directory or SavedModel's folder; empty if it was made in memory.
    """

    def __init__(self, description: dict[str, Any]):
        self.class_names: list[str] = description["class_names"]
        self.num_conditioning_frames: int = description["num_conditioning_frames"]
        self.window = windows.Window(**description["window"])
        self.resolution = self.window.resolution
        self.num_frames = self.window.num_frames
        self.stride = self.window.stride
        self.latent = video_gan.GaussianLatent(**description["latent"])
        self.metadata: dict[str, Any] = description["facts"]
        self.place = ""
        self.name = f"{self.metadata['model']}, step {self.metadata['step']}"

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

    @abc.abstractmethod
    def videos(
        self,
        z: np.ndarray | tf.Tensor,
        labels: Sequence[int] | np.ndarray,
        truncation: float = 1.0,
        frames: np.ndarray | None = None,
        batch_size: int = sampler_lib.BATCH_SIZE,
    ) -> np.ndarray:
        """Makes videos; each depends only on its own row.

        Args:
          z: `[n, latent.size]`, not truncated yet.
          labels: `[n]` class numbers, or `[n, num_classes]` float weights of classes.
          truncation: factor of z; statistics are those made for it.
          frames: `[n, num_conditioning_frames, height, width, 3]` uint8, for a model
            that starts from frames; by default those that its run kept, in turn.
          batch_size: videos at a time; it does not change them.

        Returns:
          `[n, num_frames, height, width, 3]` uint8.

        Raises:
          UserError: the model starts from frames, and there are none; or it is an
            autoencoder.
        """


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
    generator: Generator
    if saved_model:
        generator = SavedModelGenerator(saved_model)
    else:
        generator = RunGenerator(trained.load(model_dir, step))
    generator.place = saved_model or model_dir
    return generator


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
            "weights": sampler_lib.fingerprint_of_weights(generator),
            "version": version.__version__,
        },
    }


class RunGenerator(Generator):
    """A run's generator; statistics are made for each truncation that is asked for.

    Args:
      model: with its weights in place.
      **statistics: how standing statistics are made, see `Sampler`.

    Attributes:
      model: as given.
      gan: its networks.
      sampler: of its videos.
    """

    def __init__(self, model: trained.TrainedModel, **statistics: int):
        super().__init__(describe(model))
        self.model = model
        self.gan = model.gan
        self.sampler = sampler_lib.Sampler(model.gan, **statistics)

    def videos(
        self,
        z,
        labels,
        truncation=1.0,
        frames=None,
        batch_size=sampler_lib.BATCH_SIZE,
    ):
        self.check_makes_videos()
        made = self.sampler.sample(z, labels, truncation, frames, batch_size)
        return made["videos"]

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
        parts = []
        with self.sampler.standing():
            for i in range(0, len(frames), batch_size):
                part = transforms.to_unit_range(frames[i : i + batch_size, np.newaxis])
                found = self.gan.generator.activations(part, training=False)[layer - 1]
                parts.append(found[:, 0].numpy().astype(np.float32))
        return np.concatenate(parts)


class SavedModelGenerator(Generator):
    """A SavedModel that `export.export` wrote.

    Args:
      directory: where it lies.

    Attributes:
      directory: the same.
    """

    def __init__(self, directory: str):
        files.register_filesystems(directory)
        super().__init__(_read_description(directory))
        self.directory = directory
        self._model = tf.saved_model.load(directory)
        self._signature = self._model.signatures["generate_from_latents"]

    def videos(
        self,
        z,
        labels,
        truncation=1.0,
        frames=None,
        batch_size=sampler_lib.BATCH_SIZE,
    ):
        self.check_makes_videos()
        if self.num_conditioning_frames and frames is None:
            raise errors.UserError(
                f"The model in {self.directory} starts from frames, and a SavedModel "
                "keeps none; python -m tools.predict continues a video with it."
            )
        labels = np.asarray(labels)
        if labels.ndim == 1:
            labels = np.eye(len(self.class_names))[labels]
        rows = {"z": z, "class_weights": labels.astype(np.float32), "frames": frames}
        named = self._signature.structured_input_signature[1]
        rows = {name: rows[name] for name in rows if name in named}
        made = []
        for i in range(0, len(z), batch_size):
            given = {n: tf.constant(x[i : i + batch_size]) for n, x in rows.items()}
            factor = tf.constant(truncation, tf.float32)
            made.append(self._signature(**given, truncation=factor)["videos"].numpy())
        return np.concatenate(made)


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
