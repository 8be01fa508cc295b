"""Writes a run's summaries: TensorBoard's curves and videos, and sample sheets."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorboard.plugins.image import metadata as image_metadata

from tf_dvdgan import errors, run_directory, visualize
from tf_dvdgan.data import files, filesystem, video_io
from tf_dvdgan.layers import spectral_norm
from tf_dvdgan.training import dashboard

_FPS = 8.0


class Summaries:
    """Writes an event file and a run's `samples/` folder.

    A summary that cannot be written (full disk, lost connection) is skipped with one
    warning, so that the run continues.

    Args:
      model_dir: directory of the run.
      folder: sub-folder of the event file.
      writes: whether this process writes; only the chief of several workers does.
    """

    def __init__(self, model_dir: str, folder: str = "train", writes: bool = True):
        self._directory = run_directory.RunDirectory(model_dir)
        self._writes = writes
        self._failing = False
        self._writer = tf.summary.create_noop_writer()
        with self._skipping_failures():
            if writes:
                filesystem.makedirs(self._directory.samples)
                path = self._directory.events(folder)
                self._writer = tf.summary.create_file_writer(path)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars.

        Args:
          step: step of the run.
          values: values by tag.
        """
        with self._skipping_failures(), self._writer.as_default(step):
            for tag, value in values.items():
                description = dashboard.description(tag)
                tf.summary.scalar(tag, value, description=description)
            self._writer.flush()

    def text(self, step: int, tag: str, text: str) -> None:
        """Writes preformatted text.

        Args:
          step: step of the run.
          tag: tag of the summary.
          text: the text.
        """
        indented = "\n".join("    " + line for line in text.splitlines())
        with self._skipping_failures(), self._writer.as_default(step):
            tf.summary.text(tag, indented, description=dashboard.description(tag))

    def raw(self, summaries: Sequence[bytes]) -> None:
        """Writes serialized summaries from `dashboard`."""
        with self._skipping_failures(), self._writer.as_default(0):
            for summary in summaries:
                tf.summary.experimental.write_raw_pb(summary)
            self._writer.flush()

    @contextlib.contextmanager
    def _skipping_failures(self) -> Iterator[None]:
        """Suppresses write errors, and prints the first of consecutive ones."""
        try:
            yield
        except (tf.errors.OpError, OSError) as error:
            if not self._failing:
                reason = errors.reason_of(error)
                print(f"Summaries cannot be written: {reason}", flush=True)
            self._failing = True
        else:
            self._failing = False

    def videos(
        self,
        step: int,
        tag: str,
        videos: np.ndarray,
        columns: int,
        names: Sequence[str],
    ) -> str:
        """Writes an animated grid to TensorBoard and `samples/`, and frames as PNG.

        Args:
          step: step of the run.
          tag: tag of the summary; its last part begins the file names.
          videos: `[count, time, height, width, 3]` uint8.
          columns: number of videos per row of the grid.
          names: names of the rows; empty for none.

        Returns:
          The path of the PNG, which has the first video of each row of the grid.
        """
        stem = self._directory.sheet(tag.split("/")[-1], step)
        if not self._writes:
            return f"{stem}.png"
        frames = visualize.grid(videos, columns, names)
        gif = video_io.encode_gif(frames, _FPS)
        with self._skipping_failures(), self._writer.as_default(step):
            height, width = frames.shape[1:3]
            tf.summary.write(
                tag,
                tf.constant([str(width).encode(), str(height).encode(), gif]),
                metadata=_image_metadata(tag),
            )
            self._writer.flush()
            files.atomic_write(f"{stem}.gif", gif)
            sheet = visualize.strips(videos[::columns], names)
            files.atomic_write(f"{stem}.png", video_io.encode_png(sheet))
        return f"{stem}.png"


def _image_metadata(tag: str) -> tf.compat.v1.SummaryMetadata:
    """Returns metadata of TensorBoard's image plugin, which shows GIFs animated."""
    metadata = image_metadata.create_summary_metadata(
        tag, dashboard.description(tag) or "", converted_to_tensor=True
    )
    return tf.compat.v1.SummaryMetadata.FromString(metadata.SerializeToString())


def singular_values(models: Sequence[tf.keras.Model]) -> dict[str, tf.Tensor]:
    """Computes the largest singular value of each spectrally normalized kernel."""
    values = {}
    for model in models:
        for layer in model.submodules:
            if isinstance(layer, spectral_norm.SpectralLayer) and hasattr(layer, "u"):
                name = layer.kernel.name.removesuffix("/kernel:0")
                values[f"singular_values/{name}"] = layer.largest_singular_value()
    return values
