"""Scores of a generator, by a protocol that the scores carry with them."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator

import gin
import numpy as np
import tensorflow as tf

from tf_dvdgan import sampling
from tf_dvdgan.data import files, manifest, readers, transforms
from tf_dvdgan.evaluation import frechet
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import checkpoints, standing_statistics, summaries

SCORES_FILE = "scores.jsonl"
_SIDE, _FRAMES = 4, 4  # what is left of a video for the distance of pixels


@gin.register(module="evaluation")
@dataclasses.dataclass(frozen=True)
class Protocol:
    """What is compared with what.

    Attributes:
      num_videos: generated, and real ones at the most.
      split: of the real clips; the training split where the data have no other.
      batch_size: videos at a time; it changes nothing.
      standing_batches: batches of 32 for the standing statistics.
      seed: of the latents and classes.
      best: the score that `best/` goes by.
      lower_is_better: of that score.
    """

    num_videos: int = 512
    split: str = "test"
    batch_size: int = 16
    standing_batches: int = 16
    seed: int = 0
    best: str = "frechet_distance/pixels"
    lower_is_better: bool = True


@gin.configurable(module="evaluation")
class Evaluator:
    """Evaluates a run's checkpoints: one GAN, its weights of several steps.

    Scores:

    - `frechet_distance/pixels`: between generated and held-out real videos, 4 frames of
      each averaged to 4x4 pixels. Colours and coarse motion count, nothing fine does.
      It wants no network; no paper has it.
    - `scores/<discriminator>_held_out` and `..._generated`: what a discriminator says
      of real clips that it was not trained on, and of generated ones. Where the former
      falls while that of training clips rises, it learns its clips by heart.

    Args:
      model_dir: of the run; scores go to its `scores.jsonl` and `eval/`.
      data_dir: of prepared shards.
      writes: whether this process writes; of several workers one does.
      window: of the real clips.
      protocol: what is compared with what.
    """

    def __init__(
        self,
        model_dir: str,
        data_dir: str,
        writes: bool = True,
        window: readers.Window = gin.REQUIRED,
        protocol: Protocol = Protocol(),
    ):
        self._model_dir = model_dir
        self._data_dir = data_dir
        self._window = window
        self._writes = writes
        splits = manifest.load(data_dir).splits
        filled = [name for name, shards in splits.items() if shards]
        split = protocol.split if protocol.split in filled else "train"
        self._protocol = dataclasses.replace(protocol, split=split)
        self._standing: standing_statistics.StandingStatistics | None = None
        self._summaries = summaries.Summaries(model_dir, "eval", writes)

    def evaluated(self) -> set[int]:
        """Steps whose scores are there already, by this protocol."""
        protocol = self._facts()
        return {
            row["step"]
            for row in read_scores(self._model_dir)
            if row["protocol"] == protocol
        }

    def evaluate(
        self,
        gan: video_gan.VideoGAN,
        step: int,
        strategy: tf.distribute.Strategy | None = None,
    ) -> dict[str, float]:
        """Scores a generator whose averaged weights are in place.

        Its standing statistics are made anew. The scores are written down, and the
        step's checkpoint is kept in `best/` if it is the best so far.

        Args:
          gan: with its discriminators.
          step: of the checkpoint.
          strategy: that the variables were made under.

        Returns:
          The scores by name.
        """
        protocol = self._protocol
        if self._standing is None:  # once: it is traced
            replicas = strategy.num_replicas_in_sync if strategy else 1
            size = max(32 // replicas, 1) * replicas
            self._standing = standing_statistics.StandingStatistics(gan, size, strategy)
        self._standing.accumulate(protocol.standing_batches)
        judged: dict[str, list[float]] = {}
        generated = _look_at(gan, self._generated_batches(gan), "generated", judged)
        real = _look_at(gan, self._real_batches(), "held_out", judged)
        self._standing.reset()
        scores = {
            "frechet_distance/pixels": frechet.distance(real, generated),
            **{name: float(np.mean(values)) for name, values in judged.items()},
        }
        if self._writes:
            with _forgiving(f"Scores of step {step} cannot be written"):
                self._keep(step, scores)
        return scores

    def _facts(self) -> dict:
        """The protocol as it is written beside scores, and read back."""
        window = dataclasses.asdict(self._window)
        facts = {**dataclasses.asdict(self._protocol), "window": window}
        return json.loads(json.dumps(facts))

    def _real_batches(self) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        protocol = self._protocol
        rows = readers.evaluation_dataset(self._data_dir, self._window, protocol.split)
        for batch in rows.take(protocol.num_videos).batch(protocol.batch_size):
            yield batch["video"], batch["label"]

    def _generated_batches(self, gan) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        protocol = self._protocol
        count = protocol.num_videos
        classes = max(gan.generator.num_classes, 1)
        z = sampling.latents(gan.latent, count, protocol.seed)
        labels = sampling.labels(count, protocol.seed, classes)
        for i in range(0, count, protocol.batch_size):
            part = slice(i, min(i + protocol.batch_size, count))
            conditioning = gan.conditioning_from_bank(labels[part], i)
            made = sampling.generate(gan, z[part], conditioning, protocol.batch_size)
            yield tf.constant(made["videos"]), labels[part]

    def _keep(self, step: int, scores: dict[str, float]) -> None:
        protocol, facts = self._protocol, self._facts()
        self._summaries.scalars(step, scores)
        rows = read_scores(self._model_dir)
        known = [
            row["scores"][protocol.best]
            for row in rows
            if row["protocol"] == facts and row["step"] != step
        ]
        sign = 1.0 if protocol.lower_is_better else -1.0
        row = {"step": step, "scores": scores, "protocol": facts}
        text = "".join(json.dumps(entry) + "\n" for entry in [*rows, row])
        # The checkpoint first: killed in between, the step is evaluated again.
        if all(sign * scores[protocol.best] < sign * value for value in known):
            with _forgiving(f"Step {step} is the best, but cannot be kept"):
                checkpoints.keep_as_best(self._model_dir, step)
        files.write_whole(os.path.join(self._model_dir, SCORES_FILE), text)


@contextlib.contextmanager
def _forgiving(sentence: str) -> Iterator[None]:
    """Says what cannot be written, and why; a run does not end for the want of it."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        print(f"{sentence}: {str(error).splitlines()[0]}", flush=True)


def read_scores(model_dir: str) -> list[dict]:
    """What `scores.jsonl` of a run holds: "step", "scores" and "protocol" each."""
    path = os.path.join(model_dir, SCORES_FILE)
    if not tf.io.gfile.exists(path):
        return []
    with tf.io.gfile.GFile(path) as file:
        return [json.loads(line) for line in file if line.strip()]


def _look_at(
    gan: video_gan.VideoGAN,
    batches: Iterator[tuple[tf.Tensor, tf.Tensor]],
    kind: str,
    judged: dict[str, list[float]],
) -> frechet.Moments:
    """Moments of the features of uint8 videos; adds their scores to lists by name."""
    moments = frechet.Moments(_FRAMES * _SIDE * _SIDE * 3)
    for videos, labels in batches:
        videos = transforms.to_unit_range(videos)
        moments.add(_features(videos))
        labels = gan.conditioning(labels, videos)["labels"]
        for discriminator in gan.discriminators:
            scores = discriminator(videos, labels, training=False)
            name = f"scores/{discriminator.name}_{kind}"
            judged.setdefault(name, []).extend(scores.numpy().reshape(-1).tolist())
    return moments


def _features(videos: tf.Tensor) -> np.ndarray:
    """A few frames of each video, averaged to few pixels, as vectors."""
    taken = np.linspace(0, videos.shape[1] - 1, _FRAMES).round().astype(int)
    videos = tf.gather(videos, taken, axis=1)
    batch, time, height, width, channels = videos.shape
    small = tf.image.resize(
        tf.reshape(videos, [batch * time, height, width, channels]),
        [_SIDE, _SIDE],
        method="area",
    )
    return small.numpy().reshape([batch, -1])
