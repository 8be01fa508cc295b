"""Generators to sample videos from: of a run's directory or of a SavedModel.

    generator = generators.open_generator(model_dir="RUN", step="best")
    generator = generators.open_generator(None, saved_model="RUN/export/1300")
    z = latents.draw(generator.latent, count=4, seed=0)
    videos = generator.videos(z, labels=[0, 0, 1, 1], truncation=0.5)

`videos` takes untruncated latents and multiplies them by the truncation itself, because
the standing statistics depend on it too. Both kinds generate the same videos, up to
rounding, for the truncations whose statistics a SavedModel stores. Between them a
SavedModel interpolates the statistics, while a run computes them.
"""

import abc
import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, graph_check, models, terminal, trained, version
from tf_dvdgan import pretrained as pretrained_lib
from tf_dvdgan.data import files, filesystem, transforms, windows
from tf_dvdgan.models import video_gan
from tf_dvdgan.sampling import sampler as sampler_lib

DESCRIPTION = "generator.json"  # an asset of our SavedModels


class Generator(abc.ABC):
    """Generates videos from latents and classes.

    Args:
      description: the result of `describe`.

    Attributes:
      class_names: class names; one name for a model without classes.
      resolution: height and width of the videos, in pixels.
      num_frames: frames per video, including conditioning frames.
      num_conditioning_frames: number of frames that a video starts from; 0 for none.
      stride: the model was trained on every n-th frame of a clip.
      window: window of the training clips, to read other clips in the same way.
      latent: distribution of z, for `latents.draw`.
      name: model and step, for titles.
      metadata: model, step, fingerprint of the weights and version of this package, for
        the metadata of video files.
      place: directory of the run or folder of the SavedModel; empty if the generator
        exists only in memory.
    """

    def __init__(self, description: dict[str, Any]):
        self.class_names: list[str] = description["class_names"]
        self.num_conditioning_frames: int = description["num_conditioning_frames"]
        self.window = windows.Window(**description["window"])
        self.resolution: int = description["window"]["resolution"]
        self.num_frames = self.window.num_frames
        self.stride = self.window.stride
        self.latent = video_gan.GaussianLatent(**description["latent"])
        self.metadata: dict[str, Any] = description["metadata"]
        self.place = ""
        self.name = terminal.printable(
            f"{self.metadata['model']}, step {self.metadata['step']}"
        )

    @property
    def is_autoencoder(self) -> bool:
        """Whether it reconstructs whole clips, regardless of the latent."""
        return self.num_conditioning_frames == self.num_frames

    def check_makes_videos(self) -> None:
        """Checks that the generator generates videos from latents.

        Raises:
          UserError: it is an autoencoder.
        """
        if self.is_autoencoder:
            raise errors.UserError(
                f"{self.name} is an autoencoder: it reconstructs whole clips, and has "
                "no latents to sample; python -m tools.sample can sample its run."
            )

    def label_of(self, name: str | int) -> int:
        """Returns the number of a class, given its name or its number, also as text.

        Raises:
          UserError: the class does not exist.
        """
        names = self.class_names
        is_number = isinstance(name, int | np.integer) and not isinstance(name, bool)
        if not is_number and not isinstance(name, str):
            raise errors.UserError(
                f"A class must be given as its name or its number, not {name!r}."
            )
        text = str(name)
        if not is_number and text in names:
            return names.index(text)
        if text.isdecimal() and int(text) < len(names):
            return int(text)
        raise errors.UserError(
            f"The model has no class {text!r}; it has {len(names)}: "
            f"{', '.join(names[:5])}{', …' if len(names) > 5 else ''}."
            + errors.did_you_mean(text, names)
        )

    def labels_of(
        self,
        count: int,
        class_name: str | int | Sequence[str | int] | np.ndarray | None = None,
    ) -> list[int]:
        """Returns the classes of samples, as numbers.

        Args:
          count: number of samples.
          class_name: class of all samples, or one class per sample, by name or number;
            None for all classes in turn.

        Returns:
          The number of each sample's class.

        Raises:
          UserError: a class does not exist, or there are not `count` of them.
        """
        if class_name is None:
            return [i % len(self.class_names) for i in range(count)]
        if isinstance(class_name, np.ndarray):
            class_name = class_name.tolist()
        if isinstance(class_name, str | int | np.integer):
            return [self.label_of(class_name)] * count
        if len(class_name) != count:
            raise errors.UserError(
                f"There are {len(class_name)} class names for {count} videos."
            )
        return [self.label_of(name) for name in class_name]

    @abc.abstractmethod
    def videos(
        self,
        z: np.ndarray | tf.Tensor,
        labels: Sequence[int] | np.ndarray,
        truncation: float = 1.0,
        frames: np.ndarray | None = None,
        batch_size: int = sampler_lib.BATCH_SIZE,
    ) -> np.ndarray:
        """Generates videos; each depends only on its own row of the arguments.

        Args:
          z: `[n, latent.size]`, not truncated yet.
          labels: `[n]` class numbers, or `[n, num_classes]` float class weights.
          truncation: factor of z; also selects the standing statistics.
          frames: `[n, num_conditioning_frames, height, width, 3]` uint8, for a
            prediction model; by default the videos cycle through the run's frame bank.
          batch_size: batch size; does not affect the videos.

        Returns:
          `[n, num_frames, height, width, 3]` uint8.

        Raises:
          UserError: the model is an autoencoder, or it is a SavedModel of a prediction
            model and `frames` is None.
        """


def open_generator(
    model_dir: str | None = None,
    step: int | str | None = None,
    saved_model: str | None = None,
    trust: bool = False,
    pretrained: str | None = None,
) -> Generator:
    """Opens a run, a SavedModel, or a generator that comes with the package.

    Args:
      model_dir: directory of a run, or the name of a generator that comes with the
        package; None for one of the others.
      step: checkpoint of the run: its step or 'best'; the newest by default.
      saved_model: folder of a SavedModel from `tools.export`; None to open a run.
      trust: whether the SavedModel may have any operations, see `graph_check`.
      pretrained: name of a generator that comes with the package.

    Returns:
      The generator.

    Raises:
      UserError: not exactly one is given, or there is no such model.
    """
    generator: Generator
    if pretrained:
        if model_dir or saved_model:
            raise errors.UserError(
                "`pretrained` names a generator: `model_dir` and `saved_model` cannot "
                "be set with it."
            )
        model_dir = pretrained_lib.path_of(pretrained)
    if saved_model and not model_dir:
        if step is not None:
            raise errors.UserError(
                "A SavedModel has only one step: `step` is for `model_dir`."
            )
        generator = SavedModelGenerator(saved_model, trust)
        generator.place = saved_model
    elif model_dir and not saved_model:
        model_dir = pretrained_lib.resolve(model_dir)
        generator = RunGenerator(trained.load(model_dir, step))
        generator.place = model_dir
    else:
        raise errors.UserError(
            "Pass `model_dir` (a run's folder), `saved_model` (a SavedModel's) or "
            f"`pretrained` (one of {', '.join(pretrained_lib.names())})."
        )
    return generator


def describe(model: trained.TrainedModel) -> dict[str, Any]:
    """Returns the description that a `Generator` is created from, as JSON types."""
    generator, latent = model.gan.generator, model.gan.latent
    kind = type(generator)
    package, _, module = kind.__module__.rpartition(".")
    module = module if package == models.__name__ else "custom"
    return {
        "class_names": model.class_names,
        "num_conditioning_frames": generator.num_conditioning_frames,
        "window": dataclasses.asdict(model.window),
        "latent": {"sizes": latent.sizes, "stddevs": latent.stddevs},
        "metadata": {
            "model": f"{module}.{kind.__name__}",
            "step": model.step,
            "weights": sampler_lib.hashes_of_model(model.gan)["model"],
            "version": version.__version__,
        },
    }


class RunGenerator(Generator):
    """Generator of a run; computes standing statistics for every truncation used.

    Args:
      model: the trained model.
      **statistics: arguments of `Sampler` for the standing statistics.

    Attributes:
      model: as given.
      gan: the networks.
      sampler: samples the videos.
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
        outputs = self.sampler.sample(z, labels, truncation, frames, batch_size)
        return outputs["videos"]

    def activations(
        self, frames: np.ndarray, layer: int, batch_size: int = 64
    ) -> np.ndarray:
        """Computes hidden units of the frame encoder of VGAN's future predictor.

        Args:
          frames: `[n, height, width, 3]` uint8.
          layer: number of the convolution, counted from 1.
          batch_size: batch size; does not affect the result.

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
    """Generator of a SavedModel from `export.export`.

    Args:
      directory: folder of the SavedModel.
      trust: whether its graph may have any operations, see `graph_check`.

    Attributes:
      directory: as given.
    """

    def __init__(self, directory: str, trust: bool = False):
        files.register_filesystems(directory)
        files.check_name_for_checkpoints(directory)
        description = _read_description(directory)
        with _damage_as_user_error(directory):
            super().__init__(description)
        if not trust:
            graph_check.check(directory)
        self.directory = directory
        with _damage_as_user_error(directory):
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
                "stores none; use python -m tools.predict to continue a video."
            )
        labels = np.asarray(labels)
        if labels.ndim == 1:
            labels = np.eye(len(self.class_names))[labels]
        rows = {"z": z, "class_weights": labels.astype(np.float32), "frames": frames}
        inputs = self._signature.structured_input_signature[1]
        rows = {name: rows[name] for name in rows if name in inputs}
        factor = tf.constant(truncation, tf.float32)
        videos = []
        for i in range(0, len(z), batch_size):
            batch = {n: tf.constant(x[i : i + batch_size]) for n, x in rows.items()}
            try:
                outputs = self._signature(**batch, truncation=factor)
            except tf.errors.InvalidArgumentError as error:  # the graph checks inputs
                raise errors.UserError(
                    f"The model in {self.directory} cannot be sampled: "
                    f"{errors.reason_of(error)}."
                ) from None
            videos.append(outputs["videos"].numpy())
        return np.concatenate(videos)


def _read_description(directory: str) -> dict[str, Any]:
    path = os.path.join(directory, "assets", DESCRIPTION)
    if not filesystem.exists(os.path.join(directory, "saved_model.pb")):
        raise errors.UserError(
            f"{directory} is not a SavedModel: it has no saved_model.pb."
        )
    if not filesystem.exists(path):
        raise errors.UserError(
            f"The SavedModel in {directory} is not from this version of tf_dvdgan: it "
            f"has no assets/{DESCRIPTION}. Export the run again."
        )
    with _damage_as_user_error(directory), filesystem.GFile(path) as file:
        description = files.parse_json(file.read())
        if "facts" in description:  # of earlier exports
            description["metadata"] = description.pop("facts")
        return description


@contextlib.contextmanager
def _damage_as_user_error(directory: str) -> Iterator[None]:
    """Converts what damaged files of a SavedModel raise."""
    try:
        yield
    except (
        *(AttributeError, IndexError, KeyError, TypeError, ValueError),
        *(OSError, tf.errors.OpError),
    ) as error:
        reason = f"{type(error).__name__}: {errors.reason_of(error)}"
        raise errors.UserError(
            f"The SavedModel in {directory} is damaged ({reason}). Export the run "
            "again."
        ) from error
