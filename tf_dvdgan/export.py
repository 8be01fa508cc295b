"""A trained generator as a SavedModel that needs nothing but TensorFlow.

It keeps standing statistics for a grid of truncations and interpolates between them.
Signatures:

- `serving_default` and `generate`: (count, label, truncation, seed), all scalars, to
  `videos` `[count, time, height, width, 3]` uint8. A label of -1 draws one for each
  video. The same seed gives the videos of `tools.sample`.
  A model that starts from frames takes (frames `[n, count, height, width, 3]` uint8,
  truncation, seed) instead, and continues each.
- `generate_from_latents`: (z `[n, size]`, label `[n]` or frames) to `videos`
  float32 in [-1, 1], with the statistics of truncation 1.
"""

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator, Sequence

import tensorflow as tf

from tf_dvdgan import cli, sampling, trained
from tf_dvdgan.data import files, transforms
from tf_dvdgan.layers import conditional_batch_norm
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import standing_statistics

TRUNCATIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
_WHOLE = "saved_model.pb"
_PARTS = (_WHOLE, "fingerprint.pb", "variables", "assets")


def export(
    model: trained.TrainedModel,
    directory: str,
    truncations: Sequence[float] = TRUNCATIONS,
    num_batches: int = 16,
    batch_size: int = 32,
) -> None:
    """Writes a SavedModel; it is whole or not there at all.

    Args:
      model: with its weights in place.
      directory: to write to.
      truncations: increasing; for each, statistics are made.
      num_batches: for each truncation's statistics.
      batch_size: of those batches.

    Raises:
      UserError: the directory holds something else than a SavedModel.
    """
    _check_replaceable(directory)
    with tempfile.TemporaryDirectory() as folder:
        names = os.path.join(folder, "class_names.txt")
        with open(names, "w", encoding="utf-8") as file:
            file.writelines(f"{cli.printable(name)}\n" for name in model.class_names)
        module = _ExportedGenerator(model, names, truncations, num_batches, batch_size)
        signatures = {
            "serving_default": module.generate,
            "generate": module.generate,
            "generate_from_latents": module.generate_from_latents,
        }
        with _replacing(directory) as place:
            tf.saved_model.save(module, place, signatures)


def _check_replaceable(directory: str) -> None:
    """Refuses to write over what is no SavedModel, whole or begun.

    Raises:
      UserError: something else is there.
    """
    if tf.io.gfile.exists(directory) and not files.is_folder(directory):
        raise cli.UserError(f"{directory} is a file; name a folder to export to.")
    for name in files.names_in(directory):
        if name.partition(".tmp")[0] not in _PARTS:
            raise cli.UserError(
                f"{directory} holds {name!r}, which is no part of a SavedModel; name a "
                "folder of its own to export to."
            )


@contextlib.contextmanager
def _replacing(directory: str) -> Iterator[str]:
    """Gives a folder to write a SavedModel to, which then takes a directory's place.

    Killed at any moment, there is a whole SavedModel or none. TensorFlow writes
    `saved_model.pb` when all it wants is there, so on an object store, where folders
    cannot be moved, it goes first and comes last.
    """
    if files.is_object_store(directory):
        whole = os.path.join(directory, _WHOLE)
        if tf.io.gfile.exists(whole):
            tf.io.gfile.remove(whole)
        yield directory
        return
    directory = files.absolute(directory).rstrip("/")
    unfinished, replaced = f"{directory}.unfinished", f"{directory}.replaced"
    for leftover in (unfinished, replaced):
        _check_replaceable(leftover)
    if tf.io.gfile.exists(replaced) and not tf.io.gfile.exists(directory):
        tf.io.gfile.rename(replaced, directory)
    _remove(unfinished, replaced)
    yield unfinished
    if tf.io.gfile.exists(directory):
        tf.io.gfile.rename(directory, replaced)
    tf.io.gfile.rename(unfinished, directory)
    _remove(replaced)


def _remove(*folders: str) -> None:
    for folder in folders:
        if tf.io.gfile.exists(folder):
            tf.io.gfile.rmtree(folder)


class _ExportedGenerator(tf.Module):
    """The generator's variables and two functions; no Keras object is saved."""

    def __init__(self, model, class_names, truncations, num_batches, batch_size):
        super().__init__(name="exported_generator")
        gan = model.gan
        self.weights = list(gan.generator.variables)
        self.truncations = tf.constant(truncations, tf.float32)
        self.statistics = _grid(gan, truncations, num_batches, batch_size)
        self.class_names = tf.saved_model.Asset(class_names)
        self._add_functions(gan)

    def _add_functions(self, gan: video_gan.VideoGAN) -> None:
        """Makes the two functions; frames take the place of classes where wanted."""
        generator = gan.generator
        num_classes = max(generator.num_classes, 1)
        frames = generator.num_conditioning_frames
        size = generator.resolution

        def run(z, given, truncation):
            labels = given if not frames else tf.zeros([tf.shape(z)[0]], tf.int32)
            start = transforms.to_unit_range(given) if frames else None
            with conditional_batch_norm.use_statistics(self._statistics(truncation)):
                return gan.generate(z, gan.conditioning(labels, start))["videos"]

        def generate(count, label, truncation, seed):
            z = sampling.latents(gan.latent, count, seed, truncation)
            drawn = sampling.labels(count, seed, num_classes)
            labels = tf.where(label < 0, drawn, label)
            return {"videos": transforms.to_uint8(run(z, labels, truncation))}

        def continue_frames(frames, truncation, seed):
            z = sampling.latents(gan.latent, tf.shape(frames)[0], seed, truncation)
            return {"videos": transforms.to_uint8(run(z, frames, truncation))}

        def generate_from_latents(z, given):
            return {"videos": run(z, given, tf.constant(1.0))}

        integer = functools.partial(tf.TensorSpec, [], tf.int32)
        truncation = tf.TensorSpec([], tf.float32, "truncation")
        z = tf.TensorSpec([None, gan.latent.size], tf.float32, "z")
        if frames:
            given = tf.TensorSpec([None, frames, size, size, 3], tf.uint8, "frames")
            signature = [given, truncation, integer("seed")]
            self.generate = tf.function(continue_frames, signature)
        else:
            given = tf.TensorSpec([None], tf.int32, "label")
            signature = [
                integer("count"),
                integer("label"),
                truncation,
                integer("seed"),
            ]
            self.generate = tf.function(generate, signature)
        self.generate_from_latents = tf.function(generate_from_latents, [z, given])

    def _statistics(self, truncation: tf.Tensor) -> dict:
        """Statistics between the two nearest truncations of the grid."""
        grid = self.truncations
        position = tf.reduce_sum(tf.cast(grid[1:-1] <= truncation, tf.int32))
        low, high = grid[position], grid[position + 1]
        weight = tf.clip_by_value((truncation - low) / (high - low), 0.0, 1.0)

        def between(values: tf.Tensor) -> tf.Tensor:
            return (1.0 - weight) * values[position] + weight * values[position + 1]

        return {
            name: (between(mean), between(variance))
            for name, (mean, variance) in self.statistics.items()
        }


def _grid(gan, truncations, num_batches, batch_size) -> dict:
    """Each normalisation layer's mean and variance, `[truncations, time, channels]`."""
    accumulator = standing_statistics.StandingStatistics(gan, batch_size)
    rows = []
    for truncation in truncations:
        accumulator.accumulate(num_batches, truncation)
        rows.append(standing_statistics.read(gan.generator))
    return {
        name: tuple(
            tf.Variable(tf.stack([row[name][i] for row in rows]), trainable=False)
            for i in range(2)
        )
        for name in rows[0]
    }
