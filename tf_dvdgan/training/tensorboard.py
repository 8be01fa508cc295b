"""What TensorBoard shows of a run besides videos: curves, texts, hyperparameters."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tf_dvdgan import addons
from tf_dvdgan.data import windows
from tf_dvdgan.training import dashboard, environment, summaries
from tf_dvdgan.training import loop as loop_lib
from tf_dvdgan.training import trainer as trainer_lib


class TensorBoard:
    """Writes the config of a run at its start, and its curves as actions.

    Args:
      trainer: trainer of the run.
      writer: writes the event file.
    """

    def __init__(self, trainer: trainer_lib.Trainer, writer: summaries.Summaries):
        self._trainer = trainer
        self._writer = writer
        gan = trainer.gan
        self._singular_values = tf.function(
            lambda: summaries.singular_values([gan.generator, *gan.discriminators])
        )

    def write_config(
        self,
        step: int,
        config: str,
        model: Mapping[str, Any],
        window: windows.Window,
        protocols: Sequence[str],
    ) -> None:
        """Writes the operative config, the environment and TensorBoard's layout.

        Args:
          step: step at which the run starts or resumes.
          config: the operative config.
          model: result of `resolved.resolve`.
          window: window of the training clips.
          protocols: names of the run's evaluation protocols.
        """
        writer, trainer = self._writer, self._trainer
        writer.text(step, "operative_config", config)
        described = environment.describe(trainer.strategy)
        writer.text(step, "environment", environment.to_text(described))
        names = [d.name for d in trainer.gan.discriminators]
        losses = [n for n in trainer.metric_names if n.startswith("loss/")]
        metrics = [*losses, "diversity/samples_to_real", "speed/clips_per_second"]
        values = _hyperparameters(trainer, model, window)
        writer.raw(
            [
                dashboard.layout(names, protocols),
                *dashboard.hyperparameters(values, metrics, protocols),
            ]
        )

    def write_metrics(self, state: loop_lib.State) -> None:
        """Writes the metrics and the learning rates."""
        rates = {
            "learning_rate/generator": self._trainer.generator_optimizer,
            "learning_rate/discriminators": self._trainer.discriminator_optimizer,
        }
        values = {tag: addons.learning_rate(rate) for tag, rate in rates.items()}
        self._writer.scalars(state.step, {**state.metrics, **values})

    def write_singular_values(self, state: loop_lib.State) -> None:
        """Writes the largest singular value of each spectrally normalized kernel."""
        values = self._singular_values()
        self._writer.scalars(state.step, {t: float(v) for t, v in values.items()})

    def finish(self, state: loop_lib.State) -> None:
        """Marks the run as finished, after its last step."""
        del state
        self._writer.raw([dashboard.finished()])


def _hyperparameters(
    trainer: trainer_lib.Trainer, model: Mapping[str, Any], window: windows.Window
) -> dict[str, float | str]:
    gan = trainer.gan
    ch = model["networks"]["arguments"]["generator"]["arguments"].get("ch")
    return {
        "model": type(gan.generator).__module__.rpartition(".")[-1],
        **({"ch": ch} if isinstance(ch, int | float) else {}),
        "resolution": gan.generator.resolution,
        "frames": gan.generator.num_frames,
        "stride": window.stride,
        "classes": gan.generator.num_classes,
        "batch_size": trainer.global_batch_size,
        "generator_learning_rate": _rounded(trainer.generator_optimizer),
        "discriminator_learning_rate": _rounded(trainer.discriminator_optimizer),
        "discriminator_steps": trainer.num_d_steps,
        "num_steps": model["training"]["schedule"]["arguments"]["num_steps"],
        "precision": gan.precision,
        "seed": trainer.seed,
    }


def _rounded(optimizer: tf.keras.optimizers.legacy.Optimizer) -> float:
    """Returns the learning rate as in the config, not as the nearest float32."""
    return float(f"{float(tf.convert_to_tensor(optimizer.learning_rate)):.6g}")
