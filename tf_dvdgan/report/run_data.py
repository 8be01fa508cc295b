"""What the page is made of: a run's history, its generator, samples of it."""

import functools
import shlex

import gin
import numpy as np

from tf_dvdgan import config, generators, terminal
from tf_dvdgan.evaluation import evaluator
from tf_dvdgan.report import films, history
from tf_dvdgan.training import checkpoints, environment


def command(module: str, *flags: str) -> str:
    """A command as one types it."""
    return shlex.join(["python", "-m", module, *flags])


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
        config.load_run(model_dir)
        self.dataset = history.dataset_name(model_dir)
        self.plan = gin.get_configurable(evaluator.Plan)()
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
