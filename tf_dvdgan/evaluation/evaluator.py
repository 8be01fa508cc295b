"""Scores of a run's checkpoints, by protocols that the scores carry with them."""

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence

import gin
import numpy as np
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.data import files, readers, transforms
from tf_dvdgan.evaluation import features, scoring, sources
from tf_dvdgan.evaluation import protocols as protocols_lib
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import checkpoints, loop, standing_statistics, summaries

SCORES_FILE = "scores.jsonl"


@gin.register(module="evaluation")
@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run is scored by.

    Attributes:
      protocols: their names.
      weights: files of the networks' weights.
      mean: of C3D's training clips, for protocols that want it.
      num_videos: generated, and real ones at the most, while the run trains.
      num_videos_at_end: the same at its last step; None for what each protocol fixes.
      batch_size: videos at a time; it changes nothing.
      standing_batches: batches of 32 for the standing statistics.
      best: the protocol that `best/` goes by.
      held_out: the split of real clips that are not trained on, where a protocol says
        'test'; None takes 'test', or 'validation' where there is no other.

    Raises:
      UserError: a protocol is unknown or none for a run, or `best` is not among them.
    """

    protocols: Sequence[str] = ("fid_pixels",)
    weights: Sequence[str] = ()
    mean: str | None = None
    num_videos: int = 512
    num_videos_at_end: int | None = None
    batch_size: int = 16
    standing_batches: int = standing_statistics.NUM_BATCHES
    best: str = "fid_pixels"
    held_out: str | None = None

    def __post_init__(self):
        for name in (*self.protocols, self.best):
            if protocols_lib.named(name).needs_model:
                raise errors.UserError(
                    f"{name} is no protocol for a run that trains; tools.score has it."
                )
        if self.best not in self.protocols:
            raise errors.UserError(
                f"evaluation.Plan.best is {self.best!r}, and evaluation.Plan.protocols "
                f"has {', '.join(self.protocols)} alone."
            )

    def protocol(self, name: str, at_end: bool) -> protocols_lib.Protocol:
        """A protocol with this plan's numbers of videos."""
        protocol = protocols_lib.named(name)
        count = self.num_videos_at_end if at_end else self.num_videos
        if count is None:
            return protocol
        return dataclasses.replace(
            protocol, num_generated=count, num_real=count, num_repeats=1
        )


@gin.configurable(module="evaluation")
class Evaluator:
    """Evaluates a run's checkpoints: one GAN, its weights of several steps.

    Scores, by name: those of the plan's protocols, `<protocol>/<other>` for what else
    their features tell, and `scores/<discriminator>_held_out` and `..._generated`: what
    a discriminator says of real clips that it was not trained on, and of generated
    ones. Where the former falls while that of training clips rises, it memorizes its
    clips.

    Args:
      model_dir: of the run; scores go to its `scores.jsonl` and `eval/`.
      data_dir: of prepared shards.
      strategy: that the GAN's variables were made under; None outside a strategy.
      writes: whether this process writes; of several workers one does.
      window: of the real clips.
      plan: what is compared with what.
      schedule: says which step is the last.
    """

    def __init__(
        self,
        model_dir: str,
        data_dir: str,
        strategy: tf.distribute.Strategy | None = None,
        writes: bool = True,
        window: readers.Window = gin.REQUIRED,
        plan: Plan = Plan(),
        schedule: loop.Schedule = loop.Schedule(),
    ):
        self._model_dir = model_dir
        self._data_dir = data_dir
        self._window = window
        self._plan = plan
        self._last_step = schedule.num_steps
        self._writes = writes
        self._strategy = strategy or tf.distribute.get_strategy()
        held = readers.load_manifest(data_dir, window)
        self._splits = held.filled_splits
        self._held_out = self._plan.held_out or held.held_out_split
        num_classes = len(held.class_names)
        # Of real clips: protocols with the same network look at them once.
        self._seen = tempfile.TemporaryDirectory(prefix="tf_dvdgan-")
        self._judges = {
            name: scoring.Judge(
                protocols_lib.named(name),
                plan.weights,
                num_classes,
                self._strategy,
                plan.mean,
                self._seen.name,
                plan.batch_size,
            )
            for name in plan.protocols
        }
        for judge in self._judges.values():
            judge.check_classes(held.class_names, data_dir)
        self._standing: standing_statistics.StandingStatistics | None = None
        self._discriminate: features.Extractor | None = None
        self._summaries = summaries.Summaries(model_dir, "eval", writes)

    def evaluated(self) -> set[int]:
        """Steps whose scores are there already, by this plan."""
        rows = read_scores(self._model_dir)
        done, at_end = (
            {row["step"] for row in rows if row["protocol"] == facts}
            for facts in (self._facts(False), self._facts(True))
        )
        return done - ({self._last_step} - at_end)

    def evaluate(self, gan: video_gan.Networks, step: int) -> dict[str, float]:
        """Scores a generator whose averaged weights are in place.

        Its standing statistics are made again. The scores are written down, and the
        step's checkpoint is kept in `best/` if it is the best so far. The last step is
        scored a second time, with as many videos as the plan has for it.

        Args:
          gan: with its discriminators.
          step: of the checkpoint.

        Returns:
          The scores by name; those of the second time under "at_end/".
        """
        if self._standing is None:  # once: it is traced
            self._standing = standing_statistics.StandingStatistics(
                gan, strategy=self._strategy
            )
            self._discriminate = self._discriminators_of(gan)
        self._standing.accumulate(self._plan.standing_batches)
        plans = [False]
        if step == self._last_step and self._facts(True) != self._facts(False):
            plans.append(True)
        found = {}
        for at_end in plans:
            scores = self._scores(gan, at_end)
            if self._writes:
                with _forgiving(f"Scores of step {step} cannot be written"):
                    self._keep(step, scores, at_end)
            found |= _tagged(scores, at_end)
        self._standing.reset()
        return found

    def _facts(self, at_end: bool) -> dict:
        """The protocols as they are written beside scores, and read back."""
        facts = {"window": dataclasses.asdict(self._window)}
        for name, judge in self._judges.items():
            protocol = self._plan.protocol(name, at_end)
            split = self._split(protocol.split)
            facts[name] = {**judge.facts, **dataclasses.asdict(protocol)}
            facts[name]["split"] = split
        return json.loads(json.dumps(facts))

    def _split(self, wanted: str) -> str:
        """The split of the data that a protocol's is."""
        found = self._held_out if wanted == "test" else wanted
        return found if found in self._splits else "train"

    def _scores(self, gan: video_gan.Networks, at_end: bool) -> dict[str, float]:
        scores = {}
        with tempfile.TemporaryDirectory(prefix="tf_dvdgan-") as folder:
            for score_name, judge in self._judges.items():
                protocol = self._plan.protocol(score_name, at_end)
                split, held_out = self._split(protocol.split), self._split("test")
                looked_at = dict.fromkeys([split, held_out] if judge.wants_real else [])
                seen = {
                    name: judge.look_at(self._real(name, protocol))
                    for name in looked_at
                }
                generated = [
                    judge.look_at(made, cache_dir=folder)
                    for made in self._generated(gan, protocol)
                ]
                if not self._writes:  # the chief alone has what all workers saw
                    continue
                others = seen.get(held_out) if held_out != split else None
                score = judge.score(seen.get(split), generated, others)
                scores[score_name] = score.value
                scores |= {f"{score_name}/{k}": v for k, v in score.others.items()}
            scores |= self._discriminated(gan, at_end, folder)
        return scores

    def _real(self, split: str, protocol: protocols_lib.Protocol) -> sources.Prepared:
        window = dataclasses.replace(
            self._window,
            num_frames=protocol.num_frames or self._window.num_frames,
            stride=protocol.stride or self._window.stride,
        )
        return sources.Prepared(self._data_dir, window, split, protocol.num_real)

    def _generated(
        self, gan: video_gan.Networks, protocol: protocols_lib.Protocol
    ) -> Iterator[sources.Generated]:
        given, frames = gan.generator.num_conditioning_frames, None
        if given:  # it continues the clips that it is compared with
            real = self._real(self._split(protocol.split), protocol)
            frames = sources.first_frames(real, given, protocol.num_generated)
        for repeat in range(protocol.num_repeats):
            seed = protocol.seed + repeat
            yield sources.Generated(gan, protocol.num_generated, seed, frames=frames)

    def _discriminators_of(self, gan: video_gan.Networks) -> features.Extractor:
        def look(videos: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
            videos = transforms.to_unit_range(videos)
            labels = gan.conditioning(labels, videos)["labels"]
            return {
                discriminator.name: discriminator(videos, labels, training=False)
                for discriminator in gan.discriminators
            }

        return features.Extractor(look, self._strategy, self._plan.batch_size)

    def _discriminated(
        self, gan: video_gan.Networks, at_end: bool, folder: str
    ) -> dict[str, float]:
        """What discriminators say of held-out and of generated clips."""
        protocol = dataclasses.replace(
            self._plan.protocol(self._plan.best, at_end), num_frames=None, stride=None
        )
        kinds = {
            "held_out": self._real(self._split("test"), protocol),
            "generated": next(self._generated(gan, protocol)),
        }
        scores = {}
        for kind, source in kinds.items():
            said = self._discriminate(source, {"by": "discriminators"}, folder)
            for discriminator in gan.discriminators if self._writes else ():
                values = said.get(discriminator.name)
                scores[f"scores/{discriminator.name}_{kind}"] = float(np.mean(values))
        return scores

    def _keep(self, step: int, scores: Mapping[str, float], at_end: bool) -> None:
        best, facts = self._plan.best, self._facts(at_end)
        self._summaries.scalars(step, _tagged(scores, at_end))
        rows = read_scores(self._model_dir)
        known = [
            row["scores"][best]
            for row in rows
            if row["protocol"] == facts and row["step"] != step
        ]
        sign = 1.0 if protocols_lib.named(best).lower_is_better else -1.0
        row = {"step": step, "scores": dict(scores), "protocol": facts}
        # The checkpoint first: killed in between, the step is evaluated again.
        if not at_end and all(sign * scores[best] < sign * value for value in known):
            with _forgiving(f"Step {step} is the best, but cannot be kept"):
                checkpoints.keep_as_best(self._model_dir, step)
        add_scores(os.path.join(self._model_dir, SCORES_FILE), row)


def _tagged(scores: Mapping[str, float], at_end: bool) -> dict[str, float]:
    return {f"at_end/{n}" if at_end else n: value for n, value in scores.items()}


@contextlib.contextmanager
def _forgiving(sentence: str) -> Iterator[None]:
    """Says what cannot be written, and why; a run does not end for the want of it."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        print(f"{sentence}: {str(error).splitlines()[0]}", flush=True)


def read_scores(model_dir: str) -> list[dict]:
    """What `scores.jsonl` of a run holds: "step", "scores" and "protocol" each."""
    return _read(os.path.join(model_dir, SCORES_FILE))


def add_scores(path: str, row: Mapping) -> None:
    """Adds a row to a file of scores, whole or not at all."""
    text = "".join(json.dumps(entry) + "\n" for entry in [*_read(path), row])
    files.write_whole(path, text)


def _read(path: str) -> list[dict]:
    if not tf.io.gfile.exists(path):
        return []
    with tf.io.gfile.GFile(path) as file:
        return [json.loads(line) for line in file if line.strip()]
