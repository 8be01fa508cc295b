"""What the page is made of: a run's history, its generator, samples of it."""

import dataclasses
import functools
import itertools
import re
import shlex
from collections.abc import Sequence

import gin
import numpy as np

from tf_dvdgan import config, generators, terminal
from tf_dvdgan.evaluation import evaluator
from tf_dvdgan.report import films, history
from tf_dvdgan.training import checkpoints, environment


def command(module: str, *flags: str) -> str:
    """A command as one types it."""
    return shlex.join(["python", "-m", module, *flags])


_SEED = "trainer.build.seed"


class Run:
    """A run as the page wants it.

    Args:
      model_dir: of the run.
      step: which checkpoint, by its number or 'best'; the newest by default.
      name: for titles.

    Attributes:
      model_dir, name: as given.
      dataset: what its data called itself; empty where nobody knows.
      plan: what it is scored by.
      generator: of the checkpoint; None where there is none yet.
      step: of the checkpoint; None likewise.
      train: scalars of training, by tag.
      environment: what the run was last started with, by title; empty if not kept.
      panels: these and scalars of evaluation, as they belong together.
      scores: all that it has, in their order.
      config: what was in use at the step; empty if it was not kept.

    Raises:
      UserError: it is no run's directory, or has no such checkpoint.
    """

    def __init__(self, model_dir: str, step: int | str | None, name: str):
        self.model_dir = model_dir
        self.name = name
        with config.isolated():
            config.load_run(model_dir)
            self.plan = gin.get_configurable(evaluator.Plan)()
        self.dataset = history.dataset_name(model_dir)
        self.generator: generators.RunGenerator | None = None
        self.step: int | None = None
        if step is not None or checkpoints.steps(model_dir):
            self.generator = generators.open_generator(model_dir, step)
            self.step = self.generator.facts["step"]
        events = history.read_events(model_dir, "train")
        self.train = events.curves
        self.environment = environment.parse(events.texts.get("environment", ""))
        evaluated = history.read_events(model_dir, "eval")
        self.panels = history.panels(self.train, evaluated.curves)
        self.scores = history.scores(model_dir)
        self.config = history.operative_config(model_dir, self.step)

    @property
    def trained_steps(self) -> int:
        """The last step that left a trace."""
        return max((int(curve.x[-1]) for curve in self.train.values()), default=0)

    @property
    def makes_samples(self) -> bool:
        """Whether there is a generator that makes videos of latents."""
        return self.generator is not None and not self.generator.is_autoencoder

    @functools.cached_property
    def samples(self) -> dict[str, np.ndarray]:
        """Clips of the generator, by class; see `films.samples`."""
        with terminal.clock(f"Samples of {self.name}"):
            shown = films.shown_classes(self.generator.class_names)
            return films.samples(self.generator, shown)

    def command(self, module: str, *flags: str) -> str:
        """A command about this run."""
        return command(module, f"--model_dir={self.model_dir}", *flags)

    @property
    def training_command(self) -> str:
        """What makes checkpoints, sheets and curves."""
        return self.command("tf_dvdgan.run", "--mode=train", "--data_dir=SHARDS")

    def score_command(self, protocol: str, *flags: str) -> str:
        """What makes a score by a protocol that wants weights."""
        flags = (f"--protocol={protocol}", "--weights=WEIGHTS", "--real=SHARDS", *flags)
        return self.command("tools.score", *flags)


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ by their seed alone; of most configs there is one.

    Attributes:
      name: of the run, or what its runs' names have in common and how many they are.
      runs: at least one.
    """

    name: str
    runs: Sequence[Run]


def groups(runs: Sequence[Run]) -> list[Group]:
    """Runs together whose data and configs are the same but for the seed."""
    found: dict[object, list[Run]] = {}
    for run in runs:
        bindings = history.bindings(run.config)
        bindings.pop(_SEED, None)
        key = (run.dataset, *sorted(bindings.items())) if bindings else run.name
        found.setdefault(key, []).append(run)
    made = [Group(_common_name(alike), alike) for alike in found.values()]
    names = [group.name for group in made]
    return [
        group
        if names.count(group.name) == 1
        else dataclasses.replace(group, name=", ".join(r.name for r in group.runs))
        for group in made
    ]


def _common_name(runs: Sequence[Run]) -> str:
    """What runs' names begin with, without a seed's beginnings."""
    if len(runs) == 1:
        return runs[0].name
    letters = zip(*(run.name for run in runs), strict=False)
    alike = itertools.takewhile(lambda those: len(set(those)) == 1, letters)
    common = "".join(those[0] for those in alike)
    common = re.sub(r"[\W_]*(seeds?|run)?[\W_]*$", "", common) or runs[0].name
    return f"{common} ({len(runs)} seeds)"
