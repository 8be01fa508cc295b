"""Data of the page: runs with their history, generator and samples."""

import dataclasses
import functools
import itertools
import re
import shlex
from collections.abc import Sequence

import gin
import numpy as np

from tf_dvdgan import config, generators, run_directory, terminal, trained
from tf_dvdgan.report import films, history
from tf_dvdgan.training import checkpoints, environment


def command(module: str, *flags: str) -> str:
    """A shell command that runs a module.

    Args:
      module: name of the module.
      flags: its flags, unquoted.

    Returns:
      The command, quoted for a shell.
    """
    return shlex.join(["python", "-m", module, *flags])


_SEED = "trainer.build.seed"


class Run:
    """A run and what the page shows of it.

    Args:
      model_dir: the run's directory.
      step: step of the checkpoint, or 'best'; None for the newest.
      name: the run's name on the page.

    Attributes:
      model_dir, name: the arguments.
      dataset: name of the data set; empty if unknown.
      plan: the run's evaluation settings.
      generator: generator of the checkpoint; None if there is no checkpoint yet.
      step: step of the checkpoint; None if there is no checkpoint yet.
      train: scalars of training, by tag.
      environment: host, versions and command of the last start, by title; empty if
        the run has no such record.
      panels: scalars of training and evaluation, grouped into charts.
      scores: all scores, in the order they were written.
      config: operative config at the step; empty if the run has no such file.

    Raises:
      UserError: the directory holds no run, or not this checkpoint.
    """

    def __init__(self, model_dir: str, step: int | str | None, name: str):
        self.model_dir = model_dir
        directory = run_directory.RunDirectory(model_dir)
        self.name = name
        with config.isolated():
            if not directory.is_without_gin:
                config.load_run(model_dir)
            self.plan = gin.get_configurable("evaluation.Plan")()
        self.dataset = directory.dataset
        self.generator: generators.RunGenerator | None = None
        self.step: int | None = None
        is_there = directory.is_exported or checkpoints.steps(model_dir)
        if step is not None or is_there:
            try:
                model = trained.load(model_dir, step)
            except trained.NotFiniteError as error:  # its curves say why
                terminal.say(str(error))
            else:
                self.generator = generators.RunGenerator(model)
                self.step = model.step
        events = history.read_events(model_dir, "train")
        self.train = events.curves
        self.environment = environment.parse(events.texts.get("environment", ""))
        evaluated = history.read_events(model_dir, "eval")
        self.panels = history.panels(self.train, evaluated.curves)
        self.scores = history.scores(model_dir)
        self.config = directory.read_operative_config(self.step)

    @property
    def trained_steps(self) -> int:
        """The last step in the event files; 0 without any."""
        return max((int(curve.x[-1]) for curve in self.train.values()), default=0)

    @property
    def makes_samples(self) -> bool:
        """Whether there is a generator, and it generates videos from latents."""
        return self.generator is not None and not self.generator.is_autoencoder

    @property
    def sample_generator(self) -> generators.RunGenerator:
        """The generator, if the run `makes_samples`.

        Raises:
          ValueError: it does not.
        """
        if self.generator is None or self.generator.is_autoencoder:
            raise ValueError(f"{self.name} has no generator of samples.")
        return self.generator

    @functools.cached_property
    def samples(self) -> dict[str, np.ndarray]:
        """Generated clips, `[count, time, height, width, 3]` uint8, by class name."""
        with terminal.clock(f"Samples of {self.name}"):
            shown = films.shown_classes(self.sample_generator.class_names)
            return films.samples(self.sample_generator, shown)

    def command(self, module: str, *flags: str) -> str:
        """A shell command with this run's `--model_dir`.

        Args:
          module: name of the module.
          flags: further flags, unquoted.

        Returns:
          The command, quoted for a shell.
        """
        return command(module, f"--model_dir={self.model_dir}", *flags)

    @property
    def training_command(self) -> str:
        """The command that creates checkpoints, sample sheets and curves."""
        return self.command("tf_dvdgan.run", "--mode=train", "--data_dir=SHARDS")

    def score_command(self, protocol: str, *flags: str) -> str:
        """The command that computes a score.

        Args:
          protocol: name of a protocol whose network needs weights.
          flags: further flags of `tools.score`, unquoted.

        Returns:
          The command, quoted for a shell.
        """
        flags = (f"--protocol={protocol}", "--weights=WEIGHTS", "--real=SHARDS", *flags)
        return self.command("tools.score", *flags)


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs of one config that differ only in their seed.

    Attributes:
      name: the run's name; for several runs the common prefix of their names and the
        number of seeds.
      runs: at least one.
    """

    name: str
    runs: Sequence[Run]


def groups(runs: Sequence[Run]) -> list[Group]:
    """Groups runs with the same data set and the same config except for the seed."""
    found: dict[object, list[Run]] = {}
    for run in runs:
        bindings = history.bindings(run.config)
        bindings.pop(_SEED, None)
        key = (run.dataset, *sorted(bindings.items())) if bindings else run.name
        found.setdefault(key, []).append(run)
    grouped = [Group(_common_name(members), members) for members in found.values()]
    names = [group.name for group in grouped]
    return [
        group
        if names.count(group.name) == 1
        else dataclasses.replace(group, name=", ".join(r.name for r in group.runs))
        for group in grouped
    ]


def _common_name(runs: Sequence[Run]) -> str:
    """The common prefix of the runs' names, without a trailing 'seed' or 'run'.

    "runs" if there is none.
    """
    if len(runs) == 1:
        return runs[0].name
    letters = zip(*(run.name for run in runs), strict=False)
    shared = itertools.takewhile(lambda column: len(set(column)) == 1, letters)
    common = "".join(column[0] for column in shared)
    common = re.sub(r"[\W_]*(seeds?|run)?[\W_]*$", "", common) or "runs"
    return f"{common} ({len(runs)} seeds)"
