"""Loads a trained model from the directory of its run."""

import dataclasses
from collections.abc import Mapping

import gin
import numpy as np
import tensorflow as tf

from tf_dvdgan import config, errors, run_directory
from tf_dvdgan.data import windows
from tf_dvdgan.models import resolved, variables, video_gan
from tf_dvdgan.training import checkpoints


class NotFiniteError(errors.UserError):
    """A generator's weights are not finite."""


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A trained model, for sampling, export and evaluation.

    Attributes:
      gan: networks; the generator has averaged weights.
      class_names: class names of the training data; one name for a model without
        classes.
      step: step of the checkpoint.
      window: frames, resolution and stride of the videos.
    """

    gan: video_gan.Networks
    class_names: list[str]
    step: int
    window: windows.Window


def load(
    model_dir: str, step: int | str | None = None, with_discriminators: bool = False
) -> TrainedModel:
    """Builds a run's model and restores a checkpoint.

    Args:
      model_dir: directory of the run.
      step: step of the checkpoint, or 'best'; the newest by default.
      with_discriminators: whether to restore the discriminators' weights too.

    Returns:
      The model.

    Raises:
      UserError: it is not a run's directory, it has no such checkpoint, or
        (`NotFiniteError`) the generator's weights are not finite.
    """
    gan, window = build(model_dir)
    directory = run_directory.RunDirectory(model_dir)
    exported = directory.read_generator()
    if exported is not None and not with_discriminators:
        values, found = exported
        if step not in (None, "best", found, str(found)):
            raise errors.UserError(f"{model_dir!r} has only step {found}.")
        _assign(gan.generator, values, model_dir)
    else:
        found = _restore(gan, model_dir, step, with_discriminators)
    if name := variables.not_finite(gan.generator):
        raise NotFiniteError(
            f"The weights in {model_dir!r}, step {found}, are not finite: {name}. "
            "Training diverged, or the file is damaged: name an earlier step."
        )
    gan.frame_bank = directory.read_frame_bank()
    class_names = directory.class_names if gan.class_conditional else ["video"]
    return TrainedModel(gan, class_names, found, window)


def _restore(
    gan: video_gan.Networks,
    model_dir: str,
    step: int | str | None,
    with_discriminators: bool,
) -> int:
    """Restores a checkpoint; returns its step."""
    others = {d.name: d for d in gan.discriminators} if with_discriminators else {}
    return checkpoints.restore_generator(model_dir, gan.generator, step, others)


def _assign(
    generator: tf.keras.Model, values: Mapping[str, np.ndarray], model_dir: str
) -> None:
    """Sets a generator's variables to those of `RunDirectory.read_generator`."""
    own = variables.by_path(generator)
    fits = own.keys() == values.keys() and all(
        own[name].shape == value.shape for name, value in values.items()
    )
    if not fits:
        raise errors.UserError(
            f"The weights in {model_dir!r} do not fit the architecture in its config."
        )
    for name, variable in own.items():
        variable.assign(values[name].astype(variable.dtype.as_numpy_dtype))


def build(model_dir: str) -> tuple[video_gan.Networks, windows.Window]:
    """Builds a run's networks with initial weights.

    They are built from `model.json`, or from `config.gin` for runs of earlier versions,
    which have no `model.json`.

    Args:
      model_dir: directory of the run.

    Returns:
      The networks, and the window of their videos.

    Raises:
      UserError: it is not a run's directory.
    """
    directory = run_directory.RunDirectory(model_dir)
    model = directory.read_model()
    if model is not None:
        gan = resolved.build_with_weights(model, directory.class_names)
        return gan, resolved.window_of(model)
    with config.isolated():
        config.load_run(model_dir)
        gan = video_gan.from_config(directory.class_names)
        gan.build()
        return gan, gin.get_configurable("data.Window")()
