"""Sheets of samples of fixed latents, and how diverse they are."""

import numpy as np

from tf_dvdgan import terminal
from tf_dvdgan.data import training_data
from tf_dvdgan.sampling import latents, sampler, standing_statistics
from tf_dvdgan.training import divergence, summaries
from tf_dvdgan.training import trainer as trainer_lib

_STANDING_BATCHES = 8  # fewer than in evaluation, because sample sheets are frequent
_COLUMNS = 4


class SampleSheets:
    """Writes a sheet of real clips, and sheets of samples without changing the run.

    All workers must call the same methods, because these run on all replicas.

    Args:
      trainer: trainer of the run.
      writer: writes the sheets.
      data: training data with the real clips.
      verbose: whether this process prints; only the chief of several workers does.
    """

    def __init__(
        self,
        trainer: trainer_lib.Trainer,
        writer: summaries.Summaries,
        data: training_data.TrainingData,
        verbose: bool,
    ):
        self._trainer = trainer
        self._writer = writer
        self._verbose = verbose
        gan, strategy = trainer.gan, trainer.strategy
        size = min(standing_statistics.BATCH_SIZE, trainer.global_batch_size)
        self._sampler = sampler.Sampler(gan, strategy, _STANDING_BATCHES, size)
        # A row of samples for each of a few evenly spaced classes.
        class_names = data.class_names
        count = len(class_names) if gan.class_conditional else 1
        rows = latents.evenly_spaced(count, 12)
        self._names = [class_names[i] for i in rows] if count > 1 else []
        rows = rows if count > 1 else np.zeros(4, int)
        self._labels = rows.repeat(_COLUMNS)
        self._z = latents.draw(gan.latent, len(self._labels), 0)
        videos = data.clips((len(self._names) or 4) * _COLUMNS)
        self._real_diversity = divergence.diversity(videos, len(videos))
        writer.videos(0, "videos/real", videos, _COLUMNS, [])

    def write(self, step: int) -> float:
        """Writes a sheet of samples with current and one with averaged weights.

        Args:
          step: current step.

        Returns:
          The diversity within a class of the samples from current weights, as a
          fraction of that of real clips.
        """
        raw, _ = self._write(step, "raw")
        with self._trainer.averaged_weights():
            _, path = self._write(step, "ema")
        real_diversity = max(self._real_diversity, 1e-6)
        share = divergence.diversity(raw, _COLUMNS) / real_diversity
        self._writer.scalars(step, {"diversity/samples_to_real": share})
        if self._verbose:
            terminal.say(f"samples: {path}")
        return share

    def _write(self, step: int, weights: str) -> tuple[np.ndarray, str]:
        """Writes a sheet; returns its videos and its path."""
        self._sampler.weights_changed()
        parts = self._sampler.sample(self._z, self._labels)
        paths = {}
        for name, videos in parts.items():
            tag = f"videos/{'samples' if name == 'videos' else name}_{weights}"
            paths[name] = self._writer.videos(step, tag, videos, _COLUMNS, self._names)
        return parts["videos"], paths["videos"]
