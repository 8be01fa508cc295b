"""Reports the progress of a run: log lines, TensorBoard's curves, sample sheets."""

import contextlib
import sys
import time
from collections.abc import Sequence

import gin
import numpy as np
import tensorflow as tf

from tf_dvdgan import addons, run_directory, terminal
from tf_dvdgan.data import training_data, windows
from tf_dvdgan.sampling import latents, sampler, standing_statistics
from tf_dvdgan.training import (
    dashboard,
    divergence,
    environment,
    summaries,
)
from tf_dvdgan.training import trainer as trainer_lib

_STANDING_BATCHES = 8  # fewer than in evaluation, because sample sheets are frequent


class Observer:
    """Reports the progress of a run, without changing it.

    Args:
      model_dir: directory of the run.
      trainer: trainer of the run.
      class_names: class names of the data.
      window: window of the real clips.
      verbose: whether this process prints and writes; only the chief of several workers
        does. All workers must call the same methods, because these run on all replicas.
    """

    def __init__(
        self,
        model_dir: str,
        trainer: trainer_lib.Trainer,
        class_names: Sequence[str],
        window: windows.Window,
        verbose: bool = True,
    ):
        self._directory = run_directory.RunDirectory(model_dir)
        self._trainer = trainer
        self._window = window
        self._verbose = verbose
        self._summaries = summaries.Summaries(model_dir, writes=verbose)
        gan, strategy = trainer.gan, trainer.strategy
        size = min(standing_statistics.BATCH_SIZE, trainer.global_batch_size)
        self._sampler = sampler.Sampler(gan, strategy, _STANDING_BATCHES, size)
        # A row of samples for each of a few evenly spaced classes.
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
        """Writes the operative config, the environment and TensorBoard's layout.

        Args:
          step: step at which the run starts or resumes.
          protocols: names of the run's evaluation protocols.
        """
        if not self._verbose:
            return
        text = gin.operative_config_str()
        self._directory.write_operative_config(step, text)
        self._summaries.text(step, "operative_config", text)
        described = environment.describe(self._trainer.strategy)
        self._summaries.text(step, "environment", environment.to_text(described))
        names = [d.name for d in self._trainer.gan.discriminators]
        losses = [n for n in self._trainer.metric_names if n.startswith("loss/")]
        metrics = [*losses, "diversity/samples_to_real", "speed/clips_per_second"]
        self._summaries.raw(
            [
                dashboard.layout(names, protocols),
                *dashboard.hyperparameters(self._hyperparameters(), metrics, protocols),
            ]
        )

    def _hyperparameters(self) -> dict[str, float | str]:
        trainer, gan = self._trainer, self._trainer.gan
        return {
            "model": type(gan.generator).__module__.rpartition(".")[-1],
            **_macro("CH"),
            "resolution": gan.generator.resolution,
            "frames": gan.generator.num_frames,
            "stride": self._window.stride,
            "classes": gan.generator.num_classes,
            "batch_size": trainer.global_batch_size,
            "generator_learning_rate": _rounded(trainer.generator_optimizer),
            "discriminator_learning_rate": _rounded(trainer.discriminator_optimizer),
            "discriminator_steps": trainer.num_d_steps,
            **_macro("NUM_STEPS"),
            "precision": gan.precision,
            "seed": trainer.seed,
        }

    def real_clips(self, data: training_data.TrainingData) -> None:
        """Writes a sheet of real clips, and measures their diversity."""
        videos = data.clips((len(self._names) or 4) * self._columns)
        self._real_diversity = divergence.diversity(videos, len(videos))
        self._summaries.videos(0, "videos/real", videos, self._columns, [])

    def start(self, num_steps: int) -> None:
        """Starts the timer, for a run that ends at step `num_steps`."""
        self._total = num_steps
        self._bar: terminal.Progress | None = None
        self._time = time.monotonic()

    def progress(
        self, step: int, num_steps: int, metrics: dict[str, float]
    ) -> float | None:
        """Prints the progress and writes TensorBoard's scalars.

        Args:
          step: current step.
          num_steps: steps since the last call.
          metrics: means over these steps, by name.

        Returns:
          Seconds per step; None for the first call, which includes tracing.
        """
        now = time.monotonic()
        seconds, self._time = (now - self._time) / num_steps, now
        trainer = self._trainer
        rates = {
            "learning_rate/generator": trainer.generator_optimizer,
            "learning_rate/discriminators": trainer.discriminator_optimizer,
        }
        scalars = metrics | {t: addons.learning_rate(o) for t, o in rates.items()}
        losses = "  ".join(
            f"{_short(name)} {value:.3f}"
            for name, value in metrics.items()
            if name.startswith("loss/")
        )
        if "augmentation/probability" in metrics:
            losses += f"  p {metrics['augmentation/probability']:.2f}"
        if self._bar is None:
            self._bar = terminal.Progress("step", self._total, 0.0, step, sys.stdout)
            self._summaries.scalars(step, scalars)
            self._say(
                f"step {step}/{self._total}  {seconds:.1f} s with tracing  {losses}"
            )
            return None
        clips = trainer.global_batch_size * trainer.num_d_steps / seconds
        speed = {"speed/seconds_per_step": seconds, "speed/clips_per_second": clips}
        self._summaries.scalars(step, scalars | speed)
        if self._verbose:
            rate = f"{seconds:.3f} s/step  {clips:.0f} clips/s"
            self._bar.update(step, f"  {losses}", rate)
        return seconds

    def alarm(self, step: int, alarm: divergence.Alarm) -> None:
        """Prints an alarm and writes it to TensorBoard.

        Args:
          step: current step.
          alarm: the alarm.
        """
        if self._verbose:
            print(f"ALARM: {alarm.message}", flush=True)
        self._summaries.scalars(step, {f"alarms/{alarm.kind}": 1.0})
        self._summaries.text(step, f"alarms/{alarm.kind}", alarm.message)

    def samples(self, step: int) -> float:
        """Writes sample sheets of fixed latents, with current and averaged weights.

        Args:
          step: current step.

        Returns:
          The diversity within a class of the samples from current weights, as a
          fraction of that of real clips.
        """
        raw, _ = self._write_sheet(step, "raw")
        with self._trainer.averaged_weights():
            _, path = self._write_sheet(step, "ema")
        scalars = {tag: float(v) for tag, v in self._singular_values().items()}
        share = divergence.diversity(raw, self._columns) / max(
            self._real_diversity, 1e-6
        )
        self._summaries.scalars(step, scalars | {"diversity/samples_to_real": share})
        self._say(f"samples: {path}")
        return share

    def pause(self, began: float) -> None:
        """Excludes the time since `began` from that of the steps."""
        self._time += time.monotonic() - began

    def finished(self) -> None:
        """Marks the run as finished in TensorBoard."""
        self._summaries.raw([dashboard.finished()])

    def _say(self, line: str) -> None:
        if self._verbose:
            terminal.say(line)

    def _write_sheet(self, step: int, weights: str) -> tuple[np.ndarray, str]:
        """Writes a sample sheet; returns its videos and its path."""
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
    """Returns the value of a numeric macro in the config, {} if there is none."""
    with contextlib.suppress(ValueError):  # no such macro
        value = gin.query_parameter(f"{name}/gin.macro.value")
        return {name.lower(): value} if isinstance(value, (int, float)) else {}
    return {}


def _rounded(optimizer: tf.keras.optimizers.legacy.Optimizer) -> float:
    """Returns the learning rate as in the config, not as the nearest float32."""
    return float(f"{float(tf.convert_to_tensor(optimizer.learning_rate)):.6g}")


def _short(metric: str) -> str:
    """Shortens the name of a loss, such as loss/spatial_discriminator, for a line."""
    name = metric.removeprefix("loss/").removesuffix("_discriminator")
    return {"spatial": "D_S", "temporal": "D_T", "generator": "G"}.get(name, name)
