"""The Python interface: build, train, sample, save and reopen a video GAN.

    import tf_dvdgan as dvd

    gan = dvd.VideoGAN.from_preset("dvdgan_v2", resolution=32, num_frames=8, ch=8)
    gan.compile(batch_size=16)
    gan.fit("shards", steps=20_000, model_dir="run")
    videos = gan.sample(16, class_name="jump", truncation=0.5)
    gan.save("exported")
    gan = dvd.load("run", step="best")

Presets are the Gin files of `gin/`. Each GAN has a config of its own: nothing of it
stays behind in Gin or in Keras, so that several live side by side.
"""

import base64
import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gin
import numpy as np
import tensorflow as tf

from tf_dvdgan import (
    config,
    errors,
    export,
    generators,
    sampling,
    trained,
    visualize,
)
from tf_dvdgan.data import files, readers, training_data, video_io
from tf_dvdgan.evaluation import clips as clips_lib
from tf_dvdgan.evaluation import comparison, protocols, scoring
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import loop
from tf_dvdgan.training import strategy as strategy_lib

Action = loop.Action
State = loop.State

_PLACES = ("{}", "{}.gin", "models/{}.gin")  # where a preset's file may lie in gin/


@dataclasses.dataclass(frozen=True)
class History:
    """What TensorBoard shows of a run; a notebook draws the losses.

    Attributes:
      history: values by tag, such as 'loss/generator'.
      steps: at which, by the same tags.
    """

    history: dict[str, list[float]]
    steps: dict[str, list[int]]

    def _repr_html_(self) -> str:
        from tf_dvdgan.report import charts

        curves = {
            tag.removeprefix("loss/").replace("_", " "): charts.Curve(
                np.array(self.steps[tag], np.float64), np.array(values)
            )
            for tag, values in self.history.items()
            if tag.startswith("loss/")
        }
        drawn = charts.chart("Losses", curves)
        return charts.svg(drawn) if drawn else "no steps yet"


class VideoGAN:
    """A video GAN with its config; see `from_preset` and `load`.

    Attributes:
      class_names: of its classes; None until the data name them.
      model_dir: of the run that holds its weights; None without one.
    """

    def __init__(
        self,
        text: str = "",
        class_names: Sequence[str] | None = None,
        model_dir: str | None = None,
        generator: generators.Generator | None = None,
    ):
        self.class_names = None if class_names is None else list(class_names)
        self.model_dir = model_dir
        self._text = text  # of the config
        self._parameters: list[str] = []
        self._objects: dict[str, Any] = {}  # what Gin's text cannot hold, by parameter
        self._generator = generator

    @classmethod
    def from_preset(
        cls,
        preset: str,
        class_names: Sequence[str] | None = None,
        *,
        resolution: int | None = None,
        num_frames: int | None = None,
        stride: int | None = None,
        ch: int | None = None,
        conditioning_frames: int | None = None,
        precision: str = "float32",
        seed: int = 0,
        parameters: Sequence[str] = (),
    ) -> "VideoGAN":
        """Makes a GAN as a Gin file describes it, without weights.

        Args:
          preset: a file of `gin/models`, such as "dvdgan_v2", "dvdgan_fp_v2", "mvt_gan"
            or "vgan"; any other of `gin/`, such as "demo"; or a path.
          class_names: of the classes; by default those of the data it is trained on,
            and [] for a model without classes.
          resolution: height and width of its videos, in pixels; the file's by default,
            as for what follows.
          num_frames: length of its videos.
          stride: every how many frames of a clip one is taken in training.
          ch: width multiplier of all networks.
          conditioning_frames: how many frames a model of prediction starts from.
          precision: 'float32', or 'bfloat16' for compute with float32 parameters.
          seed: of everything random, the first weights too.
          parameters: other Gin bindings, as in "trainer.build.num_d_steps = 1".

        Raises:
          UserError: there is no such preset, or it has no such size.
        """
        sizes = {
            "RESOLUTION": resolution,
            "NUM_FRAMES": num_frames,
            "STRIDE": stride,
            "CH": ch,
            "CONDITIONING_FRAMES": conditioning_frames,
        }
        bindings = [f"{n} = {v!r}" for n, v in sizes.items() if v is not None]
        bindings += [f"video_gan.build.precision = {precision!r}"]
        bindings += [f"trainer.build.seed = {seed!r}"]
        if class_names is not None and len(class_names) == 0:
            bindings.append("NUM_CLASSES = 0")
        with config.isolated():
            config.load([_file_of(preset)], [*bindings, *parameters])
            text = gin.config_str()
        return cls(text, class_names)

    def compile(
        self,
        *,
        batch_size: int | None = None,
        num_d_steps: int | None = None,
        generator_learning_rate: float | None = None,
        discriminator_learning_rate: float | None = None,
        generator_optimizer: Callable | None = None,
        discriminator_optimizer: Callable | None = None,
        generator_loss: Callable | None = None,
        discriminator_loss: Callable | None = None,
        jit_compile: bool | None = None,
    ) -> None:
        """Changes how it trains; what is not named stays the preset's, the paper's.

        Args:
          batch_size: videos of one update, over all replicas.
          num_d_steps: discriminator updates for each generator update.
          generator_learning_rate: of the generator.
          discriminator_learning_rate: of the discriminators.
          generator_optimizer: makes a `tf.keras.optimizers.legacy.Optimizer` of a
            learning rate.
          discriminator_optimizer: the same of the discriminators.
          generator_loss: of one discriminator's scores `[batch]` of generated videos.
          discriminator_loss: of its scores of real and of generated videos.
          jit_compile: whether XLA compiles the step.

        Raises:
          UserError: a value is none of those.
        """
        literal = {
            "trainer.build.global_batch_size": batch_size,
            "trainer.build.num_d_steps": num_d_steps,
            "trainer.build.generator_learning_rate": generator_learning_rate,
            "trainer.build.discriminator_learning_rate": discriminator_learning_rate,
            "trainer.build.jit_compile": jit_compile,
        }
        objects = {
            "trainer.build.generator_optimizer": generator_optimizer,
            "trainer.build.discriminator_optimizer": _at_any_rate(
                discriminator_optimizer
            ),
            "video_gan.build.generator_loss": generator_loss,
            "video_gan.build.discriminator_loss": discriminator_loss,
        }
        parameters = [f"{n} = {v!r}" for n, v in literal.items() if v is not None]
        with self._config(parameters):  # refused now, not when training begins
            pass
        self._parameters += parameters
        self._objects |= {n: v for n, v in objects.items() if v is not None}

    def fit(
        self,
        data: str | tf.data.Dataset,
        steps: int,
        model_dir: str,
        *,
        actions: Sequence[Action] = (),
        strategy: tf.distribute.Strategy | None = None,
        checkpoint_every: int | None = None,
        samples_every: int | None = None,
    ) -> History:
        """Trains until a step, from the newest checkpoint in `model_dir` if it has one.

        Checkpoints, sample sheets, TensorBoard's curves and alarms are those of the
        command `python -m tf_dvdgan.run`, and so is the run: either may go on with it.
        Ctrl-C stops after the steps in hand, saved.

        Args:
          data: folder of prepared shards; or a dataset of `(video, label)`, videos
            `[time, height, width, 3]` uint8 or float32 in [-1, 1], or batches of them,
            which is read in its own order, over and over.
          steps: the run's last step, counted from its start.
          model_dir: of the run; it is made if it is not there.
          actions: what else happens every so many steps.
          strategy: where to train; all devices of this machine by default.
          checkpoint_every: steps between checkpoints; the preset's by default.
          samples_every: steps between sample sheets; likewise.

        Returns:
          The run's curves.

        Raises:
          UserError: data, config and run do not fit, or the run has diverged.
        """
        schedule = {
            "num_steps": steps,
            "checkpoint_every": checkpoint_every,
            "samples_every": samples_every,
        }
        parameters = [
            f"training.Schedule.{n} = {v!r}"
            for n, v in schedule.items()
            if v is not None
        ]
        files.ready(model_dir, writing=True)
        with self._config(parameters):
            window = gin.get_configurable("data.Window")()
            source = self._source(data, window)
            run = loop.prepare(
                model_dir,
                source,
                strategy or strategy_lib.create("auto"),
                actions=actions,
            )
        self.class_names, self.model_dir = source.class_names, model_dir
        self._generator = None  # with its weights from before
        if run:
            run.go_on()
        return _history(model_dir)

    def sample(
        self,
        count: int = 1,
        class_name: str | Sequence[str] | None = None,
        truncation: float = 1.0,
        seed: int = 0,
        frames: np.ndarray | None = None,
    ) -> np.ndarray:
        """Makes videos with averaged weights and standing statistics.

        Args:
          count: how many.
          class_name: of all, or of each; by default classes in turn.
          truncation: factor of the latents, from 0 to 1.
          seed: of the latents; the same seed gives the same videos.
          frames: for a model that starts from frames, `[n, given, height, width, 3]`
            uint8, taken in turn; by default those that its run kept.

        Returns:
          `[count, time, height, width, 3]` uint8.

        Raises:
          UserError: there is no such class, or the model has no weights to sample.
        """
        generator = self.generator
        names = generator.class_names
        if class_name is None:
            labels = [i % len(names) for i in range(count)]
        elif isinstance(class_name, str):
            labels = [generator.label_of(class_name)] * count
        elif len(class_name) == count:
            labels = [generator.label_of(name) for name in class_name]
        else:
            raise errors.UserError(
                f"There are {len(class_name)} names of classes for {count} videos."
            )
        if not 0 <= truncation <= 1:
            raise errors.UserError(f"truncation is from 0 to 1, unlike {truncation}.")
        if frames is not None:
            frames = frames[np.arange(count) % len(frames)]
        z = sampling.latents(generator.latent, count, seed)
        return generator.videos(z, labels, truncation, frames)

    def predict_frames(
        self,
        frames: np.ndarray,
        count: int = 1,
        truncation: float = 1.0,
        seed: int = 0,
    ) -> np.ndarray:
        """Continues a video.

        Args:
          frames: `[given, height, width, 3]` uint8, at the model's size.
          count: how many futures.
          truncation: factor of the latents.
          seed: of the latents.

        Returns:
          `[count, time, height, width, 3]` uint8; each begins with `frames`.

        Raises:
          UserError: the model starts from no frames, or from others.
        """
        generator = self.generator
        given, side = generator.num_conditioning_frames, generator.resolution
        if not given:
            raise errors.UserError(f"{generator.name} does not start from frames.")
        if frames.shape != (given, side, side, 3):
            raise errors.UserError(
                f"{generator.name} starts from {[given, side, side, 3]}, unlike "
                f"{list(frames.shape)}."
            )
        return self.sample(count, None, truncation, seed, frames[np.newaxis])

    def save(
        self, directory: str, truncations: Sequence[float] = export.TRUNCATIONS
    ) -> None:
        """Writes a SavedModel that needs TensorFlow alone; `load` opens it, too.

        Args:
          directory: to write to.
          truncations: increasing; for each, statistics are made.

        Raises:
          UserError: it is one already, or the directory holds something else.
        """
        model = getattr(self.generator, "model", None)
        if model is None:
            raise errors.UserError("A SavedModel is saved already: copy its folder.")
        files.check_writable(directory, as_folder=True)
        export.export(model, directory, truncations)

    @property
    def generator(self) -> generators.Generator:
        """What it samples with: the run's newest weights, or first ones without a run.

        Raises:
          UserError: its classes are not known yet.
        """
        if self._generator is None and self.model_dir is not None:
            self._generator = generators.open_generator(self.model_dir)
        if self._generator is None:
            self._generator = generators.RunGenerator(self._untrained())
        return self._generator

    @property
    def networks(self) -> video_gan.Networks:
        """Generator and discriminators as Keras models.

        Raises:
          UserError: it is a SavedModel.
        """
        model = getattr(self.generator, "model", None)
        if model is None:
            raise errors.UserError("A SavedModel has functions and no Keras models.")
        return model.gan

    def _untrained(self) -> trained.TrainedModel:
        """The model with first weights."""
        with self._config():
            seed = gin.query_parameter("trainer.build.seed")
            tf.keras.utils.set_random_seed(seed)
            networks = video_gan.build(self.class_names or ["video"])
            if self.class_names is None and networks.class_conditional:
                raise errors.UserError(
                    "The classes are not known yet: name them as class_names, or fit "
                    "the model first."
                )
            networks.build()
            window = gin.get_configurable("data.Window")()
        names = self.class_names if networks.class_conditional else ["video"]
        return trained.TrainedModel(networks, names, 0, window)

    def _source(
        self, data: str | tf.data.Dataset, window: readers.Window
    ) -> training_data.TrainingData:
        if isinstance(data, str):
            source = training_data.Shards(data, window)
            if self.class_names and source.class_names != self.class_names:
                raise errors.UserError(
                    f"The model's classes are {self.class_names}, those of {data} are "
                    f"{source.class_names}."
                )
            return source
        # Networks without variables yet: they are only asked.
        if self.class_names is None and video_gan.build(["video"]).class_conditional:
            raise errors.UserError("A dataset names no classes; give class_names.")
        return training_data.Clips(data, self.class_names or ["video"], window)

    @contextlib.contextmanager
    def _config(self, parameters: Sequence[str] = ()) -> Iterator[None]:
        """Inside, Gin holds this GAN's config."""
        if not self._text:
            raise errors.UserError("A SavedModel can be sampled, and no more.")
        with config.isolated():
            config.load([], [*self._parameters, *parameters], self._text)
            with gin.unlock_config():
                for name, value in self._objects.items():
                    gin.bind_parameter(name, value)
            yield


def load(path: str, step: int | str | None = None) -> VideoGAN:
    """Opens a run's folder or a SavedModel.

    Args:
      path: of either.
      step: of a run: a checkpoint's number or 'best'; the newest by default.

    Raises:
      UserError: there is neither, or no such checkpoint.
    """
    files.ready(path)
    if tf.io.gfile.exists(os.path.join(path, "saved_model.pb")):
        generator = generators.open_generator(None, step, path)
        return VideoGAN("", generator.class_names, None, generator)
    with config.isolated():
        config.load_run(path)
        text = gin.config_str()
    generator = generators.open_generator(path, step)
    return VideoGAN(text, loop.load_class_names(path), path, generator)


def _file_of(preset: str) -> str:
    """The Gin file that a preset's name stands for; the name itself if there is none.

    What is not there is refused where files are read, with names that are near.
    """
    for place in _PLACES:
        file = place.format(preset)
        if os.path.isfile(os.path.join(config.gin_directory(), file)):
            return file
    return preset


def _at_any_rate(optimizer: Callable | None) -> Callable | None:
    """One's own optimizer, told of no number of updates a step, which ours wants."""
    if optimizer is None:
        return None

    def make(learning_rate: float, updates_per_step: int = 1):
        del updates_per_step
        return optimizer(learning_rate)

    return make


def _history(model_dir: str) -> History:
    from tf_dvdgan.report import history

    curves = history.read_events(model_dir, "train").curves
    return History(
        {tag: curve.y.tolist() for tag, curve in curves.items()},
        {tag: curve.x.astype(int).tolist() for tag, curve in curves.items()},
    )


def score(
    real: str,
    generated: VideoGAN | str,
    protocol: str,
    weights: str | Sequence[str] = (),
    *,
    mean: str | None = None,
    truncation: float = 1.0,
    num_generated: int | None = None,
    num_real: int | None = None,
    split: str | None = None,
    held_out: str | None = None,
    num_frames: int | None = None,
    stride: int | None = None,
    resolution: int | None = None,
    num_resamples: int = 100,
    cache_dir: str | None = None,
) -> comparison.Result:
    """Scores generated videos against real ones by a named protocol.

    The same as the command `python -m tools.score`; docs/evaluation.md has the
    protocols.

    Args:
      real: folder of prepared shards or of videos.
      generated: a GAN with the weights of a run, or a folder of videos.
      protocol: its name, such as "fid_small" or "fvd_unterthiner".
      weights: file of the network's weights, or several of which one fits.
      mean: of C3D's training clips, for protocols that want it.
      truncation: of a GAN's latents.
      num_generated: instead of the protocol's, as for what follows.
      num_real: real clips at the most.
      split: of prepared shards.
      held_out: folder of real clips that were not trained on.
      num_frames: of a folder's videos, where the protocol does not say.
      stride: between their frames, likewise.
      resolution: that they are resized to.
      num_resamples: of the bootstrap; 0 leaves the standard error out.
      cache_dir: keeps what networks say of clips; by default ~/.cache/tf_dvdgan.

    Returns:
      `score` with `value`, `sd`, `error` and `others`; `facts`, the protocol as it was
      used; `warnings`.

    Raises:
      UserError: the clips, the weights or the protocol do not fit.
    """
    changes = {"num_generated": num_generated, "num_real": num_real}
    used = dataclasses.replace(
        protocols.named(protocol),
        **{n: v for n, v in changes.items() if v is not None},
    )
    if cache_dir is None:
        cache_dir = os.path.expanduser(os.path.join("~", ".cache", "tf_dvdgan"))
    files.ready(cache_dir, writing=True)
    model = None
    if not isinstance(generated, str):
        model = getattr(generated.generator, "model", None)
        if model is None:
            raise errors.UserError(
                "A SavedModel is scored by videos that it has made: name their folder."
            )
    classes = model.window.classes if model else ()
    clips, others = comparison.real_clips(used, real, split, held_out, None, classes)
    paths = [weights] if isinstance(weights, str) else list(weights)
    strategy = tf.distribute.get_strategy()
    if used.needs_model:
        if model is None:
            raise errors.UserError(f"{protocol} wants a model, and not videos.")
    else:
        num_classes = len(clips.class_names) or None
        judge = scoring.Judge(used, paths, num_classes, strategy, mean, cache_dir)
    if model is None:
        window = comparison.window_of(used, num_frames, stride, resolution)
        made = clips_lib.open_folder(generated)
        return comparison.of_folders(judge, clips, made, others, window, num_resamples)
    scores = comparison.ModelScores(
        model.gan, model.window, strategy, model.class_names
    )
    if used.is_s3:
        return scores.s3(used, clips, others, cache_dir, paths)
    if used.metric == protocols.PREDICTION:
        return scores.prediction(used, clips)
    return scores.at(judge, clips, others, truncation, num_resamples)


class Shown:
    """Videos as a notebook shows them: a grid that plays.

    Attributes:
      gif: the grid, encoded.
    """

    def __init__(self, gif: bytes, size: tuple[int, int]):
        self.gif = gif
        self._size = size

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.gif).decode()
        width, height = self._size
        return (
            f'<img src="data:image/gif;base64,{data}" width="{width}" '
            f'height="{height}" alt="Generated videos">'
        )

    def save(self, path: str) -> None:
        """Writes the grid as a GIF."""
        files.write_whole(path, self.gif)


def show(
    videos: np.ndarray,
    names: Sequence[str] = (),
    columns: int | None = None,
    fps: float = 8.0,
) -> Shown:
    """A grid of videos that plays in a notebook, when it is the last line of a cell.

    Args:
      videos: `[count, time, height, width, 3]` uint8, or a single one.
      names: of each, written above it.
      columns: of the grid; by default it is about square.
      fps: frames per second.
    """
    videos = videos[np.newaxis] if videos.ndim == 4 else videos
    cells = visualize.captioned(videos, names) if names else videos
    columns = columns or max(1, round(len(videos) ** 0.5))
    frames = visualize.grid(cells, columns)
    return Shown(video_io.gif_bytes(frames, fps), frames.shape[2:0:-1])
