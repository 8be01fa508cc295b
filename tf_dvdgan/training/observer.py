"""What a run shows of itself while it trains: lines, curves, sample sheets."""

import contextlib
import sys
import time
from collections.abc import Sequence

import gin
import numpy as np
import tensorflow as tf

from tf_dvdgan import run_directory, terminal
from tf_dvdgan.data import training_data, windows
from tf_dvdgan.sampling import latents, sampler, standing_statistics
from tf_dvdgan.training import (
    dashboard,
    divergence,
    environment,
    optimizers,
    summaries,
    trainer,
)

_STANDING_BATCHES = 8  # for the pictures made while training


class Observer:
    """Shows how a run goes; nothing it does changes the run.

    Args:
      model_dir: of the run.
      the_trainer: whose state is shown.
      class_names: of the data.
      window: of the real clips that are shown.
      verbose: whether this process shows anything; of several workers one does, but all
        must call the same methods, as what they compute takes every replica.
    """

    def __init__(
        self,
        model_dir: str,
        the_trainer: trainer.Trainer,
        class_names: Sequence[str],
        window: windows.Window,
        verbose: bool = True,
    ):
        self._directory = run_directory.RunDirectory(model_dir)
        self._trainer = the_trainer
        self._window = window
        self._speaks = verbose
        self._summaries = summaries.Summaries(model_dir, writes=verbose)
        gan, strategy = the_trainer.gan, the_trainer.strategy
        size = min(standing_statistics.BATCH_SIZE, the_trainer.global_batch_size)
        self._sampler = sampler.Sampler(gan, strategy, _STANDING_BATCHES, size)
        # A few classes from all over the list, a row of samples for each.
        count = len(class_names) if gan.class_conditional else 1
        self._columns = 4
        rows = latents.evenly_spaced(count, 12)
        self._names = [class_names[i] for i in rows] if count > 1 else []
        rows = rows if count > 1 else np.zeros(4, int)
        self._labels = rows.repeat(self._columns)
        self._z = latents.draw(gan.latent, len(self._labels), 0)
        self._singular_values = tf.function(
            lambda: summaries.singular_values([gan.generator, *gan.discriminators])
        )

    def config(self, step: int, protocols: Sequence[str]) -> None:
        """Keeps the config that is in use and what it runs on; lays out TensorBoard.

        Args:
          step: where the run starts or resumes.
          protocols: names of the scores that the run is evaluated by.
        """
        if not self._speaks:
            return
        text = gin.operative_config_str()
        self._directory.write_operative_config(step, text)
        self._summaries.text(step, "operative_config", text)
        facts = environment.describe(self._trainer.strategy)
        self._summaries.text(step, "environment", environment.to_text(facts))
        names = [d.name for d in self._trainer.gan.discriminators]
        losses = [n for n in self._trainer.metric_names if n.startswith("loss/")]
        shown = [*losses, "diversity/samples_to_real", "speed/clips_per_second"]
        self._summaries.raw(
            [
                dashboard.layout(names, protocols),
                *dashboard.hyperparameters(self._hyperparameters(), shown, protocols),
            ]
        )

    def _hyperparameters(self) -> dict[str, float | str]:
        the_trainer, gan = self._trainer, self._trainer.gan
        return {
            "model": type(gan.generator).__module__.rpartition(".")[-1],
            **_macro("CH"),
            "resolution": gan.generator.resolution,
            "frames": gan.generator.num_frames,
            "stride": self._window.stride,
            "classes": gan.generator.num_classes,
            "batch_size": the_trainer.global_batch_size,
            "generator_learning_rate": _rounded(the_trainer.generator_optimizer),
            "discriminator_learning_rate": _rounded(
                the_trainer.discriminator_optimizer
            ),
            "discriminator_steps": the_trainer.num_d_steps,
            **_macro("NUM_STEPS"),
            "precision": gan.precision,
            "seed": the_trainer.seed,
        }

    def real_clips(self, data: training_data.TrainingData) -> None:
        """Shows what the generator should learn to make."""
        videos = data.clips((len(self._names) or 4) * self._columns)
        self._real_diversity = divergence.diversity(videos, len(videos))
        self._summaries.videos(0, "videos/real", videos, self._columns, [])

    def start(self, num_steps: int) -> None:
        """Begins to take the time of a run of so many steps."""
        self._total = num_steps
        self._bar: terminal.Progress | None = None
        self._time = time.monotonic()

    def progress(
        self, step: int, num_steps: int, metrics: dict[str, float]
    ) -> float | None:
        """A line for people, numbers for TensorBoard.

        Returns:
          Seconds a step took; None for the first call, which also traced the step.
        """
        now = time.monotonic()
        seconds, self._time = (now - self._time) / num_steps, now
        the_trainer = self._trainer
        rates = {
            "learning_rate/generator": the_trainer.generator_optimizer,
            "learning_rate/discriminators": the_trainer.discriminator_optimizer,
        }
        scalars = metrics | {t: optimizers.learning_rate(o) for t, o in rates.items()}
        losses = "  ".join(
            f"{_short(name)} {value:.3f}"
            for name, value in metrics.items()
            if name.startswith("loss/")
        )
        if self._bar is None:
            self._bar = terminal.Progress("step", self._total, 0.0, step, sys.stdout)
            self._summaries.scalars(step, scalars)
            self._say(
                f"step {step}/{self._total}  {seconds:.1f} s with tracing  {losses}"
            )
            return None
        clips = the_trainer.global_batch_size * the_trainer.num_d_steps / seconds
        speed = {"speed/seconds_per_step": seconds, "speed/clips_per_second": clips}
        self._summaries.scalars(step, scalars | speed)
        if self._speaks:
            rate = f"{seconds:.3f} s/step  {clips:.0f} clips/s"
            self._bar.update(step, f"  {losses}", rate)
        return seconds

    def alarm(self, step: int, alarm: divergence.Alarm) -> None:
        """Says that something has gone wrong, and marks it in TensorBoard."""
        if self._speaks:
            print(f"ALARM: {alarm.message}", flush=True)
        self._summaries.scalars(step, {f"alarms/{alarm.kind}": 1.0})
        self._summaries.text(step, f"alarms/{alarm.kind}", alarm.message)

    def samples(self, step: int) -> float:
        """Samples of fixed latents, with the raw weights and with their averages.

        Returns:
          How much those of the raw weights differ within a class, as a share of how
          much real clips differ.
        """
        the_trainer = self._trainer
        raw, _ = self._show(step, "raw")
        with optimizers.averaged_weights(
            the_trainer.generator_optimizer, the_trainer.generator_variables
        ):
            _, path = self._show(step, "ema")
        scalars = {tag: float(v) for tag, v in self._singular_values().items()}
        share = divergence.diversity(raw, self._columns) / max(
            self._real_diversity, 1e-6
        )
        self._summaries.scalars(step, scalars | {"diversity/samples_to_real": share})
        self._say(f"samples: {path}")
        return share

    def pause(self, began: float) -> None:
        """Leaves out the time since `began` from that of the steps."""
        self._time += time.monotonic() - began

    def finished(self) -> None:
        """Marks in TensorBoard that the run has come to its end."""
        self._summaries.raw([dashboard.finished()])

    def _say(self, line: str) -> None:
        if self._speaks:
            terminal.say(line)

    def _show(self, step: int, weights: str) -> tuple[np.ndarray, str]:
        """Makes a sheet; gives its videos and its path."""
        self._sampler.weights_changed()
        parts = self._sampler.sample(self._z, self._labels)
        paths = {}
        for name, videos in parts.items():
            tag = f"videos/{'samples' if name == 'videos' else name}_{weights}"
            paths[name] = self._summaries.videos(
                step, tag, videos, self._columns, self._names
            )
        return parts["videos"], paths["videos"]


def _macro(name: str) -> dict[str, float]:
    """A size that configs agree on, where this one has it."""
    with contextlib.suppress(ValueError):  # no such macro
        value = gin.query_parameter(f"{name}/gin.macro.value")
        return {name.lower(): value} if isinstance(value, (int, float)) else {}
    return {}


def _rounded(optimizer: tf.keras.optimizers.legacy.Optimizer) -> float:
    """The config's learning rate as it was written, not as the nearest float32."""
    return float(f"{float(tf.convert_to_tensor(optimizer.learning_rate)):.6g}")


def _short(metric: str) -> str:
    """loss/spatial_discriminator: the loss's name on a line for people."""
    name = metric.removeprefix("loss/").removesuffix("_discriminator")
    return {"spatial": "D_S", "temporal": "D_T", "generator": "G"}.get(name, name)
