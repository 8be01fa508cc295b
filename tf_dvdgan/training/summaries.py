"""What a run shows: TensorBoard's curves and videos, sample sheets as files."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorboard.plugins.image import metadata as image_metadata

from tf_dvdgan import run_directory, visualize
from tf_dvdgan.data import files, video_io
from tf_dvdgan.layers import spectral_norm
from tf_dvdgan.training import dashboard

_FPS = 8.0


class Summaries:
    """Writes an event file and a run's `samples/` folder.

    What cannot be written (a full disk, a lost connection) is said once and left out:
    a run does not end for the want of a picture.

    Args:
      model_dir: of the run.
      folder: of the event file, in it.
      writes: whether to write at all; of several workers one does.
    """

    def __init__(self, model_dir: str, folder: str = "train", writes: bool = True):
        self._directory = run_directory.RunDirectory(model_dir)
        self._writes = writes
        self._failing = False
        self._writer = tf.summary.create_noop_writer()
        with self._forgiving():
            if writes:
                tf.io.gfile.makedirs(self._directory.samples)
                path = self._directory.events(folder)
                self._writer = tf.summary.create_file_writer(path)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes numbers by tag."""
        with self._forgiving(), self._writer.as_default(step):
            for tag, value in values.items():
                description = dashboard.description(tag)
                tf.summary.scalar(tag, value, description=description)
            self._writer.flush()

    def text(self, step: int, tag: str, text: str) -> None:
        """Writes preformatted text."""
        indented = "\n".join("    " + line for line in text.splitlines())
        with self._forgiving(), self._writer.as_default(step):
            tf.summary.text(tag, indented, description=dashboard.description(tag))

    def raw(self, summaries: Sequence[bytes]) -> None:
        """Writes serialized summaries, of `dashboard`."""
        with self._forgiving(), self._writer.as_default(0):
            for summary in summaries:
                tf.summary.experimental.write_raw_pb(summary)
            self._writer.flush()

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        """Says that something cannot be written, the first time, and goes on."""
        try:
            yield
        except (tf.errors.OpError, OSError) as error:
            if not self._failing:
                reason = str(error).splitlines()[0]
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
        """Writes a moving grid to TensorBoard and `samples/`, and its frames as PNG.

        Args:
          step: of the run.
          tag: of the summary; its last part begins the files' names.
          videos: `[count, time, height, width, 3]` uint8.
          columns: videos in a row of the grid.
          names: of the rows.

        Returns:
          The path of the PNG: one video a row, the first of each row of the grid.
        """
        stem = self._directory.sheet(tag.split("/")[-1], step)
        if not self._writes:
            return f"{stem}.png"
        frames = visualize.grid(videos, columns, names)
        gif = video_io.encode_gif(frames, _FPS)
        with self._forgiving(), self._writer.as_default(step):
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
    """TensorBoard's image plugin shows a GIF as it is: moving."""
    made = image_metadata.create_summary_metadata(
        tag, dashboard.description(tag) or "", converted_to_tensor=True
    )
    return tf.compat.v1.SummaryMetadata.FromString(made.SerializeToString())


def singular_values(models: Sequence[tf.keras.Model]) -> dict[str, tf.Tensor]:
    """The largest singular value of every spectrally normalized kernel, by tag."""
    values = {}
    for model in models:
        for layer in model.submodules:
            if isinstance(layer, spectral_norm.SpectralLayer) and hasattr(layer, "u"):
                name = layer.kernel.name.removesuffix("/kernel:0")
                values[f"singular_values/{name}"] = layer.largest_singular_value()
    return values
