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

import contextlib
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
    notebook,
    run_directory,
    trained,
)
from tf_dvdgan.data import files, training_data, windows
from tf_dvdgan.evaluation.runs import watch
from tf_dvdgan.models import video_gan
from tf_dvdgan.sampling import latents
from tf_dvdgan.sampling import sampler as sampler_lib
from tf_dvdgan.training import loop
from tf_dvdgan.training import strategy as strategy_lib

Action = loop.Action
State = loop.State

_PLACES = ("{}", "{}.gin", "models/{}.gin")  # where a preset's file may lie in gin/


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
          resolution: height and width of its videos, in pixels. This and the following
            are the file's by default.
          num_frames: length of its videos.
          stride: every n-th frame of a clip is taken in training.
          ch: width multiplier of all networks.
          conditioning_frames: number of frames that a prediction model starts from.
          precision: 'float32', or 'bfloat16' for compute with float32 parameters.
          seed: of everything random, the first weights too.
          parameters: other Gin bindings, as in "trainer.build.num_d_steps = 1".

        Returns:
          The GAN.

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
        """Changes how it trains; the rest stays as in the preset, which is the paper's.

        Args:
          batch_size: videos of one update, over all replicas.
          num_d_steps: discriminator updates for each generator update.
          generator_learning_rate: of the generator.
          discriminator_learning_rate: of the discriminators.
          generator_optimizer: makes a `tf.keras.optimizers.legacy.Optimizer` of a
            learning rate.
          discriminator_optimizer: makes that of the discriminators.
          generator_loss: of one discriminator's scores `[batch]` of generated videos.
          discriminator_loss: of its scores `[batch]` of real and of generated videos.
          jit_compile: whether XLA compiles the step.

        Raises:
          UserError: a value is invalid.
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
        protocols: Sequence[str] = (),
        weights: str | Sequence[str] = (),
        strategy: tf.distribute.Strategy | None = None,
        checkpoint_every: int | None = None,
        samples_every: int | None = None,
    ) -> notebook.History:
        """Trains until a step, from the newest checkpoint in `model_dir` if it has one.

        By default it writes checkpoints, sample sheets and TensorBoard's curves, and
        raises alarms, like the command `python -m tf_dvdgan.run`; either resumes a run
        of the other. Ctrl-C stops after the steps in hand, saved.

        Args:
          data: folder of prepared shards; or a dataset of `(video, label)`, videos
            `[time, height, width, 3]` uint8 or float32 in [-1, 1], or batches of them,
            which is read in its own order, over and over.
          steps: the run's last step, counted from its start.
          model_dir: of the run; it is made if it is not there.
          actions: functions that are called every n steps.
          protocols: scores of each checkpoint, such as ["fid_small"]; the first selects
            the checkpoint that `load(model_dir, step="best")` opens. The data are
            prepared shards then.
          weights: file of the network's weights for them, or several.
          strategy: where to train; all devices of this machine by default.
          checkpoint_every: steps between checkpoints; the preset's by default.
          samples_every: steps between sample sheets; the preset's by default.

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
        if protocols:
            paths = [weights] if isinstance(weights, str) else list(weights)
            parameters += [
                f"evaluation.Plan.protocols = {list(protocols)!r}",
                f"evaluation.Plan.best = {protocols[0]!r}",
                f"evaluation.Plan.weights = {paths!r}",
            ]
        files.register_filesystems(model_dir, writing=True)
        with self._config(parameters):
            window = gin.get_configurable("data.Window")()
            source = self._source(data, window)
            run = loop.prepare(
                model_dir,
                source,
                strategy or strategy_lib.create("auto"),
                _evaluation(model_dir, data, window, steps) if protocols else None,
                protocols,
                actions=actions,
            )
        self.class_names, self.model_dir = source.class_names, model_dir
        self._generator = None  # with its weights from before
        if run:
            run.run()
        return notebook.history_of(model_dir)

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
            frames = sampler_lib.in_turn(frames, count)
        z = latents.draw(generator.latent, count, seed)
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
          UserError: the model does not start from frames, or from other sizes.
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
        """Writes a SavedModel that needs only TensorFlow; `load` opens it, too.

        Args:
          directory: to write to.
          truncations: increasing; for each, standing statistics are computed.

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
        """Samples videos: with the run's weights, or initial ones without a run.

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
        """The model with initial weights."""
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
        self, data: str | tf.data.Dataset, window: windows.Window
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
            raise errors.UserError("A SavedModel can only be sampled.")
        with config.isolated():
            config.load([], [*self._parameters, *parameters], self._text)
            with gin.unlock_config():
                for name, value in self._objects.items():
                    gin.bind_parameter(name, value)
            yield


def load(path: str, step: int | str | None = None) -> VideoGAN:
    """Opens a run's directory or a SavedModel.

    Args:
      path: of either.
      step: of a run: a checkpoint's number or 'best'; the newest by default.

    Returns:
      The GAN; that of a run can be trained on, that of a SavedModel only sampled.

    Raises:
      UserError: there is neither, or no such checkpoint.
    """
    files.register_filesystems(path)
    if tf.io.gfile.exists(os.path.join(path, "saved_model.pb")):
        generator = generators.open_generator(None, step, path)
        return VideoGAN("", generator.class_names, None, generator)
    with config.isolated():
        config.load_run(path)
        text = gin.config_str()
    generator = generators.open_generator(path, step)
    class_names = run_directory.RunDirectory(path).class_names
    return VideoGAN(text, class_names, path, generator)


def _evaluation(
    model_dir: str, data: str | tf.data.Dataset, window: windows.Window, steps: int
) -> watch.EvaluationCallback:
    """Scores each checkpoint, by the plan that Gin holds."""
    if not isinstance(data, str):
        raise errors.UserError(
            "Checkpoints are scored against prepared shards: give their folder as "
            "data, or omit protocols."
        )
    plan = gin.get_configurable("evaluation.Plan")()
    return watch.EvaluationCallback(model_dir, data, window, plan, steps)


def _file_of(preset: str) -> str:
    """The Gin file of a preset; its name itself if there is none.

    A file that does not exist is refused where files are read, with similar names.
    """
    for place in _PLACES:
        file = place.format(preset)
        if os.path.isfile(os.path.join(config.gin_directory(), file)):
            return file
    return preset


def _at_any_rate(optimizer: Callable | None) -> Callable | None:
    """A user's optimizer, without the number of updates per step that ours takes."""
    if optimizer is None:
        return None

    def make(learning_rate: float, updates_per_step: int = 1):
        del updates_per_step
        return optimizer(learning_rate)

    return make
