"""Progress of a run on the terminal."""

import sys
from collections.abc import Mapping

from tf_dvdgan import terminal


class Progress:
    """Prints step, losses and speed after each call to the device.

    Args:
      num_steps: last step of the run.
      verbose: whether this process prints; only the chief of several workers does.
    """

    def __init__(self, num_steps: int, verbose: bool):
        self._num_steps = num_steps
        self._verbose = verbose
        self._bar: terminal.Progress | None = None

    def update(self, step: int, seconds: float, metrics: Mapping[str, float]) -> None:
        """Prints a line, or updates the progress bar.

        Args:
          step: current step.
          seconds: seconds per step of the last call; the first one includes tracing.
          metrics: means over the steps of that call, by name.
        """
        if not self._verbose:
            return
        losses = "  ".join(
            f"{_short(name)} {value:.3f}"
            for name, value in metrics.items()
            if name.startswith("loss/")
        )
        if "augmentation/probability" in metrics:
            losses += f"  p {metrics['augmentation/probability']:.2f}"
        end = self._num_steps
        if self._bar is None:
            self._bar = terminal.Progress("step", end, 0.0, step, sys.stdout)
            terminal.say(f"step {step}/{end}  {seconds:.1f} s with tracing  {losses}")
            return
        clips = metrics["speed/clips_per_second"]
        rate = f"{seconds:.3f} s/step  {clips:.0f} clips/s"
        self._bar.update(step, f"  {losses}", rate)


def _short(metric: str) -> str:
    """Shortens the name of a loss, such as loss/spatial_discriminator, for a line."""
    name = metric.removeprefix("loss/").removesuffix("_discriminator")
    return {"spatial": "D_S", "temporal": "D_T", "generator": "G"}.get(name, name)
