"""The Python interface: build, train, sample, save and reopen a video GAN.

    import tf_dvdgan as dvd

    gan = dvd.VideoGAN.from_preset("dvdgan_v2", resolution=32, num_frames=8, ch=8)
    gan.compile(batch_size=16)
    gan.fit("shards", steps=20_000, model_dir="run")
    videos = gan.sample(16, class_name="jump", truncation=0.5)
    gan.save("exported")
    gan = dvd.load("run", step="best")

Presets are the Gin files in `gin/`. Each GAN has its own config and leaves no global
state in Gin or Keras, so several GANs can be used side by side.
"""

import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import gin
import numpy as np
import tensorflow as tf

from tf_dvdgan import (
    config,
    config_bindings,
    config_files,
    errors,
    export,
    generators,
    launch,
    model_card,
    notebook,
    pretrained,
    run_directory,
    seeds,
    terminal,
    trained,
)
from tf_dvdgan.data import files, filesystem, training_data
from tf_dvdgan.models import resolved, video_gan
from tf_dvdgan.sampling import latents
from tf_dvdgan.sampling import sampler as sampler_lib
from tf_dvdgan.training import loop, stopping
from tf_dvdgan.training import strategy as strategy_lib

Action = loop.Action
State = loop.State

_PLACES = ("{}", "{}.gin", "models/{}.gin")  # of a preset's file in gin/


# Numbers that the methods take: whether they are whole, and the lowest.
_LEAST = {
    "seed": (True, 0),
    "batch_size": (True, 1),
    "num_d_steps": (True, 1),
    "generator_learning_rate": (False, 0),
    "discriminator_learning_rate": (False, 0),
    "steps": (True, 1),
    "checkpoint_every": (True, 1),
    "samples_every": (True, 1),
    "count": (True, 1),
}


class VideoGAN:
    """A video GAN with its config; created by `from_preset` and `load`.

    Args:
      text: the Gin config; empty for a SavedModel.
      class_names: class names in the order of the labels; None until the data are
        known.
      model_dir: directory of the run with the weights; None if there is no run yet.
      generator: generator to sample; None to open it when it is first used.

    Attributes:
      class_names: as given, or those of the data after `fit`.
      model_dir: absolute path as given, or of the directory of the last `fit`.
    """

    def __init__(
        self,
        text: str | None = "",
        class_names: Sequence[str] | None = None,
        model_dir: str | None = None,
        generator: generators.Generator | None = None,
    ):
        self.class_names = None if class_names is None else _names(class_names)
        self.model_dir = None if model_dir is None else files.absolute(model_dir)
        self._text = text
        self._parameters: list[str] = []
        self._objects: dict[str, Any] = {}  # values that Gin's syntax cannot express
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
        generator: Callable[..., tf.keras.Model] | None = None,
        discriminators: Sequence[Callable[..., tf.keras.Model]] | None = None,
        precision: str = "float32",
        seed: int = 0,
        parameters: Sequence[str] = (),
    ) -> "VideoGAN":
        """Creates a GAN from a Gin file, without trained weights.

        Args:
          preset: a file in `gin/models`, such as "dvdgan_v2", "dvdgan_fp_v2", "mvt_gan"
            or "vgan"; another file in `gin/`, such as "demo"; or a path.
          class_names: class names; by default those of the training data. [] makes a
            model without classes.
          resolution: height and width of the videos, in pixels. This and the following
            sizes default to the file's.
          num_frames: length of the videos, in frames.
          stride: training takes every n-th frame of a clip.
          ch: width multiplier of all networks.
          conditioning_frames: number of frames that a prediction model starts from.
          generator: replaces the preset's generator: a class of the package or one that
            is decorated with `register`, or a `functools.partial` of it. It is called
            as `models.video_gan.build` describes.
          discriminators: replace the preset's discriminators, likewise.
          precision: 'float32', or 'bfloat16' for compute with float32 parameters.
          seed: seed of the initial weights and of all random numbers in training.
          parameters: other Gin bindings, such as "trainer.build.num_d_steps = 1".

        Returns:
          The GAN.

        Raises:
          UserError: the preset does not exist, or does not have one of the sizes; a
            class is not registered; a number is out of range.
        """
        _check_numbers(seed=seed)
        if precision not in video_gan.POLICIES:
            raise errors.UserError(
                f"`precision` must be one of {', '.join(video_gan.POLICIES)}, not "
                f"{precision!r}."
            )
        values = {
            "RESOLUTION": resolution,
            "NUM_FRAMES": num_frames,
            "STRIDE": stride,
            "CH": ch,
            "CONDITIONING_FRAMES": conditioning_frames,
            "video_gan.build.precision": precision,
            "trainer.build.seed": seed,
            "video_gan.build.generator": generator,
            "video_gan.build.discriminators": discriminators,
        }
        bindings = _bindings(values)
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
        """Overrides training settings; the others keep the preset's (paper's) values.

        Args:
          batch_size: number of videos per update, over all replicas.
          num_d_steps: discriminator updates per generator update.
          generator_learning_rate: learning rate of the generator.
          discriminator_learning_rate: learning rate of the discriminators.
          generator_optimizer: creates a `tf.keras.optimizers.legacy.Optimizer` from a
            learning rate.
          discriminator_optimizer: creates the discriminators' optimizer from a learning
            rate.
          generator_loss: function of one discriminator's scores `[batch]` of generated
            videos.
          discriminator_loss: function of one discriminator's scores `[batch]` of real
            and of generated videos.
          jit_compile: whether to compile the step with XLA.

        Raises:
          UserError: a value is invalid.
        """
        _check_numbers(
            batch_size=batch_size,
            num_d_steps=num_d_steps,
            generator_learning_rate=generator_learning_rate,
            discriminator_learning_rate=discriminator_learning_rate,
        )
        literal = {
            "trainer.build.global_batch_size": batch_size,
            "trainer.build.num_d_steps": num_d_steps,
            "trainer.build.generator_learning_rate": generator_learning_rate,
            "trainer.build.discriminator_learning_rate": discriminator_learning_rate,
            "trainer.build.jit_compile": jit_compile,
        }
        objects = {
            "trainer.build.generator_optimizer": generator_optimizer,
            "trainer.build.discriminator_optimizer": discriminator_optimizer,
            "video_gan.build.generator_loss": generator_loss,
            "video_gan.build.discriminator_loss": discriminator_loss,
        }
        given = {name: value for name, value in objects.items() if value is not None}
        for name, value in given.items():
            if not callable(value):
                raise errors.UserError(
                    f"`{name.rpartition('.')[2]}` must be a function, not {value!r}."
                )
        parts = {name: resolved.selector_of(value) for name, value in given.items()}
        # A run stores the names of those that have one.
        named = [f"{name} = @{part}" for name, part in parts.items() if part]
        parameters = [*_bindings(literal), *named]
        with self._config(parameters):  # reports errors now, not in `fit`
            pass
        self._parameters += parameters
        self._objects |= given
        self._objects = {n: v for n, v in self._objects.items() if not parts.get(n)}

    def fit(
        self,
        data: str | os.PathLike | tf.data.Dataset,
        steps: int,
        model_dir: str | os.PathLike,
        *,
        actions: Sequence[Action] = (),
        protocols: Sequence[str] = (),
        weights: str | os.PathLike | Sequence[str | os.PathLike] = (),
        strategy: tf.distribute.Strategy | None = None,
        checkpoint_every: int | None = None,
        samples_every: int | None = None,
        init_from: str | os.PathLike | None = None,
        init_step: int | str | None = None,
    ) -> notebook.History:
        """Trains up to a step, from the newest checkpoint in `model_dir` if it has one.

        Writes checkpoints, sample sheets and TensorBoard summaries and raises alarms
        like the command `python -m tf_dvdgan.run`; each can resume a run of the other.
        Ctrl-C and SIGTERM finish the current call to the device, save a checkpoint and
        raise `KeyboardInterrupt` and `SystemExit`, so that a program does not go on as
        if training were complete; another call resumes.

        Args:
          data: folder of prepared shards; or a dataset of `(video, label)` or of
            batches of them, with videos `[time, height, width, 3]` uint8 or floats in
            [-1, 1], and integer labels. A dataset is repeated and not shuffled.
          steps: last step of the run, counted from its start.
          model_dir: directory of the run; created if it does not exist.
          actions: functions that are called every n steps.
          protocols: evaluation protocols for each checkpoint, such as ["fid_small"];
            `load(model_dir, step="best")` opens the checkpoint that is best by the
            first one. They require prepared shards.
          weights: weights file of the protocols' network, or several files.
          strategy: where to train; by default the active one, else all devices of this
            machine.
          checkpoint_every: steps between checkpoints; the preset's by default.
          samples_every: steps between sample sheets; the preset's by default.
          init_from: directory of another run, whose weights a new run starts from. It
            may have other classes or another resolution.
          init_step: step of that run's checkpoint, or 'best'; the newest by default.

        Returns:
          The training curves of the run.

        Raises:
          UserError: an argument is invalid; the data, the config and the run do not
            match; or the run has diverged.
          KeyboardInterrupt: Ctrl-C stopped training.
          SystemExit: SIGTERM stopped training.
        """
        model_dir = files.as_text(model_dir)
        data = files.as_text(data) if isinstance(data, str | os.PathLike) else data
        init_from = None if init_from is None else files.as_text(init_from)
        actions = _actions(actions)
        protocols = [protocols] if isinstance(protocols, str) else list(protocols)
        if strategy is None and tf.distribute.has_strategy():
            strategy = tf.distribute.get_strategy()
        chief = strategy is None or strategy_lib.is_chief(strategy)
        self._check_start(model_dir, init_from, verbose=chief)
        _check_numbers(
            given={"steps": steps},
            checkpoint_every=checkpoint_every,
            samples_every=samples_every,
        )
        schedule = {
            "training.Schedule.num_steps": steps,
            "training.Schedule.checkpoint_every": checkpoint_every,
            "training.Schedule.samples_every": samples_every,
        }
        parameters = _bindings(schedule)
        if protocols and not isinstance(data, str):
            raise errors.UserError(
                "Protocols need prepared shards: pass their folder as data, or omit "
                "protocols."
            )
        if protocols:
            parameters += [
                f"evaluation.Plan.protocols = {protocols!r}",
                f"evaluation.Plan.best = {protocols[0]!r}",
                f"evaluation.Plan.weights = {files.as_texts(weights)!r}",
            ]
        source = functools.cache(lambda: self._source(data))
        with launch.prepared(
            self._config(parameters),
            model_dir,
            source,
            lambda: strategy or strategy_lib.create("auto"),
            evaluate_on=str(data) if protocols else None,
            protocols=protocols,
            actions=actions,
            init_from=init_from,
            init_step=init_step,
        ) as training_loop:
            self.class_names = source().class_names
            self.model_dir = files.absolute(model_dir)
            self._generator = None  # has the weights from before training
            stopped_by = None
            if training_loop:
                stopped_by = training_loop.run(stopping.interrupt)
        if stopped_by is not None:
            stopping.end_by(stopped_by)
        return notebook.history_of(model_dir)

    def sample(
        self,
        count: int = 1,
        class_name: str | int | Sequence[str | int] | None = None,
        truncation: float = 1.0,
        seed: int = 0,
        frames: np.ndarray | None = None,
    ) -> np.ndarray:
        """Generates videos with averaged weights and standing statistics.

        Args:
          count: number of videos.
          class_name: class of all videos, or one class per video, by name or number;
            by default the videos cycle through the classes.
          truncation: factor of the latents, from 0 to 1.
          seed: seed of the latents; the same seed yields the same videos.
          frames: for a prediction model, `[n, conditioning_frames, height, width, 3]`
            uint8; the videos cycle through them. By default the run's frame bank.

        Returns:
          `[count, time, height, width, 3]` uint8.

        Raises:
          UserError: a class does not exist, `count` or `truncation` is out of range,
            `frames` has another shape, or a SavedModel of a prediction model is sampled
            without `frames`.
        """
        _check_numbers(given={"count": count, "seed": seed})
        generator = self.generator
        kinds = str | int | np.integer | Sequence | np.ndarray | None
        if not isinstance(class_name, kinds):
            raise errors.UserError(
                "`class_name` must be a name or a number, or a list of them, not "
                f"{class_name!r}."
            )
        labels = generator.labels_of(count, class_name)
        _check_truncation(truncation)
        if frames is not None:
            frames = np.asarray(frames)
            given, side = generator.num_conditioning_frames, generator.resolution
            _check_frames(frames, [len(frames), given, side, side, 3], generator.name)
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
        """Predicts continuations of a video.

        Args:
          frames: `[conditioning_frames, height, width, 3]` uint8, of the model's
            resolution.
          count: number of continuations.
          truncation: factor of the latents.
          seed: seed of the latents.

        Returns:
          `[count, time, height, width, 3]` uint8; each begins with `frames`.

        Raises:
          UserError: it is not a prediction model, or `frames` has another shape.
        """
        generator = self.generator
        given, side = generator.num_conditioning_frames, generator.resolution
        _check_frames(frames, [given, side, side, 3], generator.name)
        return self.sample(count, None, truncation, seed, frames[np.newaxis])

    def save(
        self,
        directory: str | os.PathLike | None = None,
        truncations: Sequence[float] = export.TRUNCATIONS,
        *,
        as_run: bool = False,
        card_name: str = "",
        data_name: str = "",
        data_license: str = "",
    ) -> str:
        """Writes a SavedModel that needs only TensorFlow; `load` opens it, too.

        Args:
          directory: folder to write to; by default in the run's directory, unless it
            is an exported run, whose files stay.
          truncations: truncations to compute standing statistics for; others are
            interpolated.
          as_run: whether to write a run's directory with only what sampling needs,
            instead of a SavedModel.
          card_name: name of the model in its card, the file README.md.
          data_name: name of the training data in the card; that of an exported run is
            its own by default.
          data_license: license of the training data in the card, such as "apache-2.0";
            likewise.

        Returns:
          The folder.

        Raises:
          UserError: this GAN is a SavedModel, a truncation is not from 0 to 1, or the
            directory contains other files.
        """
        directory = None if directory is None else files.as_text(directory)
        if isinstance(truncations, int | float | str):
            truncations = [truncations]  # type: ignore[list-item]  # refused below
        for truncation in truncations:
            _check_truncation(truncation)
        truncations = sorted(set(truncations))
        if not as_run and len(truncations) < 2:
            raise errors.UserError(
                "`truncations` needs at least two numbers, such as 0.5 and 1."
            )
        if self._text == "":
            raise errors.UserError(
                "This is a SavedModel already: copy its folder instead."
            )
        run = self.model_dir
        if as_run and not run:
            raise errors.UserError("`as_run` needs a run: fit this GAN first.")
        if directory:
            files.check_writable(directory, as_folder=True)
        elif as_run or not run or run_directory.RunDirectory(run).is_exported:
            raise errors.UserError("Set `directory`, the folder to write to.")
        model = self.generator.model  # type: ignore[attr-defined]  # of a run
        directory = directory or run_directory.RunDirectory(str(run)).export(model.step)
        described = {"data_name": data_name, "data_license": data_license}
        if run:
            known = run_directory.RunDirectory(run).described_as
            described = {key: said or known(key) for key, said in described.items()}
        in_package = pretrained.is_place_of(directory, card_name)
        saved_as = "package" if in_package else "run" if as_run else "saved_model"
        card = model_card.write(model, run, card_name, **described, saved_as=saved_as)
        if as_run:
            export.export_run(model, str(run), directory, card, **described)
        else:
            export.export(model, directory, truncations, card=card)
        return directory

    @property
    def generator(self) -> generators.Generator:
        """The generator with the run's weights; with initial weights without a run.

        Raises:
          UserError: the classes are not known yet.
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
          UserError: this GAN is a SavedModel.
        """
        model = getattr(self.generator, "model", None)
        if model is None:
            raise errors.UserError("A SavedModel has no Keras models, only functions.")
        return model.gan

    def _check_start(
        self, model_dir: str, init_from: str | None, verbose: bool
    ) -> None:
        """Checks that weights which this GAN has are not silently left behind."""
        if self.model_dir is None or init_from:
            return
        files.register_filesystems(model_dir, writing=True)
        if run_directory.RunDirectory(self.model_dir).is_exported:
            raise errors.UserError(
                f"{self.model_dir} is an exported run, which can only be sampled: it "
                "has no discriminators to go on training with. Load the run it is of, "
                "or train a new GAN of VideoGAN.from_preset."
            )
        is_other = files.absolute(model_dir) != files.absolute(self.model_dir)
        if verbose and is_other and not run_directory.RunDirectory(model_dir).is_run:
            terminal.say(
                f"{model_dir} starts from new weights, not from those of "
                f"{self.model_dir}, which `init_from` would take"
            )

    def _untrained(self) -> trained.TrainedModel:
        """The model with initial weights."""
        with self._config():
            networks = video_gan.from_config(self.class_names or ["video"])
            names = ["video"]
            if networks.class_conditional:
                if self.class_names is None:
                    raise errors.UserError(
                        "The classes are not known yet: name them as class_names, or "
                        "fit the model first."
                    )
                names = self.class_names
            with seeds.seeded(gin.query_parameter("trainer.build.seed")):
                networks.build()
            window = gin.get_configurable("data.Window")()
        return trained.TrainedModel(networks, names, 0, window)

    def _source(self, data: str | tf.data.Dataset) -> training_data.TrainingData:
        """Opens training data with the active config's window."""
        window = gin.get_configurable("data.Window")()
        if isinstance(data, str):
            source = training_data.Shards(data, window)
            if self.class_names and source.class_names != self.class_names:
                raise errors.UserError(
                    f"The model has the classes {self.class_names}, but {data} has "
                    f"{source.class_names}."
                )
            return source
        if not isinstance(data, tf.data.Dataset):
            raise errors.UserError(
                "`data` must be a folder of shards or a tf.data.Dataset of (video, "
                f"label), not {type(data).__name__}."
            )
        # Without variables: only to find out whether they use classes.
        if (
            self.class_names is None
            and video_gan.from_config(["video"]).class_conditional
        ):
            raise errors.UserError("A dataset has no class names: pass class_names.")
        return training_data.Clips(data, self.class_names or ["video"], window)

    @contextlib.contextmanager
    def _config(self, parameters: Sequence[str] = ()) -> Iterator[None]:
        """Activates this GAN's config in Gin within a context."""
        if self._text == "":
            raise errors.UserError("A SavedModel can only be sampled, not trained.")
        with config.isolated():
            if self._text is None:  # a run's, which only training needs
                config.load_run(str(self.model_dir))
                self._text = gin.config_str()
            config.load([], [*self._parameters, *parameters], self._text)
            with gin.unlock_config():
                for name, value in self._objects.items():
                    gin.bind_parameter(name, value)
            yield


def load(
    path: str | os.PathLike, step: int | str | None = None, trust: bool = False
) -> VideoGAN:
    """Opens a run's directory, a SavedModel, or a generator of the package.

    Args:
      path: directory of a run, folder of a SavedModel, or a name in
        `pretrained.names()`, such as "dvdgan_v2_shapes".
      step: checkpoint of a run: its step or 'best'; the newest by default.
      trust: whether a SavedModel may have operations that no generator has, and which
        may read or write files.

    Returns:
      The GAN. One from a run can be trained further; a SavedModel and an exported run,
      such as the package's, can only be sampled.

    Raises:
      UserError: the path is neither, the checkpoint does not exist, or a SavedModel has
        other operations.
    """
    path = files.as_text(path)
    files.register_filesystems(path)
    path = pretrained.resolve(path)
    if not filesystem.exists(path) and (
        near := errors.did_you_mean(path, pretrained.names())
    ):
        raise errors.UserError(f"There is nothing at {path}.{near}")
    if filesystem.exists(os.path.join(path, "saved_model.pb")):
        generator = generators.open_generator(None, step, path, trust)
        return VideoGAN("", generator.class_names, None, generator)
    generator = generators.open_generator(files.absolute(path), step)
    class_names = run_directory.RunDirectory(path).class_names
    return VideoGAN(None, class_names, path, generator)


def _check_numbers(
    given: Mapping[str, Any] | None = None, **numbers: float | None
) -> None:
    """Checks arguments by `_LEAST`; None stands for a default, except in `given`."""
    for name, number in {**(given or {}), **numbers}.items():
        whole, least = _LEAST[name]
        kinds = (int, np.integer) if whole else (int, float, np.number)
        possible = isinstance(number, kinds) and least <= number < math.inf
        if possible or (number is None and name in numbers):
            continue
        kind = "a whole number" if whole else "a number"
        raise errors.UserError(
            f"`{name}` must be {kind} of at least {least}, not {number!r}."
        )


def _check_truncation(truncation: float) -> None:
    is_number = isinstance(truncation, int | float | np.number)
    if not is_number or not 0 <= truncation <= 1:
        raise errors.UserError(
            f"A truncation must be a number from 0 to 1, not {truncation!r}."
        )


def _actions(given: Iterable[Action]) -> list[Action]:
    """Checks actions; returns them as a list."""
    found = list(given) if isinstance(given, Iterable) else [None]
    if not all(isinstance(action, Action) for action in found):
        raise errors.UserError(
            "`actions` must be a list of Action(name, every, function)."
        )
    return found


def _names(class_names: Sequence[str]) -> list[str]:
    """Checks class names, which label the data in their order."""
    are_texts = not isinstance(class_names, str) and all(
        isinstance(name, str) for name in class_names
    )
    if not are_texts or len(set(class_names)) < len(class_names):
        raise errors.UserError(
            "`class_names` must be a list of texts, each once: the name of each label. "
            f"Received: {class_names!r}"
        )
    return list(class_names)


def _bindings(values: Mapping[str, Any]) -> list[str]:
    """Returns Gin bindings of parameters; None stands for a default."""
    given = {name: value for name, value in values.items() if value is not None}
    return [b for name, v in given.items() for b in config_bindings.bind(name, v)]


def _check_frames(frames: np.ndarray, shape: Sequence[int], name: str) -> None:
    if not shape[-4]:
        raise errors.UserError(f"{name} does not start from frames.")
    if frames.dtype != np.uint8 or list(frames.shape) != list(shape) or not shape[0]:
        raise errors.UserError(
            f"{name} needs uint8 frames of shape {list(shape)}, not "
            f"{frames.dtype} of {list(frames.shape)}."
        )


def _file_of(preset: str) -> str:
    """Returns the Gin file of a preset, or the name itself if there is none.

    `config.load` reports missing files, and suggests similar names.
    """
    for place in _PLACES:
        file = place.format(preset)
        if os.path.isfile(os.path.join(config_files.gin_directory(), file)):
            return file
    return preset
