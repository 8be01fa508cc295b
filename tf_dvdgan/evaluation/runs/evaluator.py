"""Scores the checkpoints of a run, and writes each score with its protocol."""

import contextlib
import dataclasses
import functools
import json
import tempfile
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, run_directory
from tf_dvdgan.data import clips, readers, transforms, windows
from tf_dvdgan.evaluation.features import extraction, sources
from tf_dvdgan.evaluation.runs import protocols as protocols_lib
from tf_dvdgan.evaluation.runs import scoring
from tf_dvdgan.models import video_gan
from tf_dvdgan.sampling import sampler as sampler_lib
from tf_dvdgan.training import checkpoints, summaries
from tf_dvdgan.training import schedule as schedule_lib
from tf_dvdgan.training import strategy as strategy_lib


def check_plan(plan: schedule_lib.EvaluationPlan) -> None:
    """Checks a plan, so that errors show before training.

    Raises:
      UserError: a protocol does not exist or does not support runs in training, or
        `best` is not among the protocols.
    """
    for name in (*plan.protocols, plan.best):
        if protocols_lib.get(name).needs_model:
            raise errors.UserError(
                f"{name} cannot score a run in training; use tools.score afterwards."
            )
    if plan.best not in plan.protocols:
        raise errors.UserError(
            f"evaluation.Plan.best is {plan.best!r}, but evaluation.Plan.protocols "
            f"has only {', '.join(plan.protocols)}."
        )


class Evaluator:
    """Evaluates checkpoints of a run, in the same networks.

    The scores are those of the plan's protocols, `<protocol>/<other>` for secondary
    scores, and `scores/<discriminator>_held_out` and `..._generated`: a discriminator's
    mean score of held-out real clips and of generated ones. If the former falls while
    that of training clips rises, the discriminator memorizes the training clips.

    Args:
      model_dir: directory of the run; scores go to its `scores.jsonl` and `eval/`.
      data_dir: folder of prepared shards.
      window: window of the real clips.
      plan: how checkpoints are scored.
      last_step: last step of the run.
      strategy: strategy that the networks' variables were created under, if any; the
        chief of its workers writes.

    Raises:
      UserError: the plan is invalid, or the weights do not match the data.
    """

    def __init__(
        self,
        model_dir: str,
        data_dir: str,
        window: windows.Window,
        plan: schedule_lib.EvaluationPlan,
        last_step: int,
        strategy: tf.distribute.Strategy | None = None,
    ):
        check_plan(plan)
        self._directory = run_directory.RunDirectory(model_dir)
        self._window = window
        self._plan = plan
        self._last_step = last_step
        self._strategy = strategy or tf.distribute.get_strategy()
        self._writes = strategy_lib.is_chief(self._strategy)
        manifest = readers.load_manifest(data_dir, window.classes)
        self._splits = manifest.nonempty_splits
        self._held_out = plan.held_out or manifest.held_out_split
        # For features of real clips, which protocols with the same network share.
        self._cache = tempfile.TemporaryDirectory(prefix="tf_dvdgan-")
        self._metrics = {
            name: scoring.FeatureMetric(
                protocols_lib.get(name),
                plan.weights,
                len(manifest.class_names),
                self._strategy,
                plan.mean,
                self._cache.name,
                plan.batch_size,
            )
            for name in plan.protocols
        }
        for metric in self._metrics.values():
            metric.check_classes(manifest.class_names, data_dir)
        self._shards = functools.cache(
            lambda split: clips.ShardSource(data_dir, split, window.classes)
        )
        self._sampler: sampler_lib.Sampler | None = None
        self._discriminators: extraction.Extractor | None = None
        self._summaries = summaries.Summaries(model_dir, "eval", self._writes)

    def evaluated(self) -> set[int]:
        """Returns the steps that already have scores by this plan."""
        rows = self._directory.read_scores()
        done, at_end = (
            {row["step"] for row in rows if row["protocol"] == metadata}
            for metadata in (self._metadata(False), self._metadata(True))
        )
        return done - ({self._last_step} - at_end)

    def evaluate(self, gan: video_gan.Networks, step: int) -> dict[str, float]:
        """Scores a generator with averaged weights.

        Computes new standing statistics, writes the scores, and copies the checkpoint
        to `best/` if it is the best so far. The last step is also scored with the
        plan's `num_videos_at_end`.

        Args:
          gan: networks with the weights of the checkpoint; the same in every call.
          step: step of the checkpoint.

        Returns:
          The scores by name; those with `num_videos_at_end` begin with "at_end/".
        """
        self._sampler_of(gan).weights_changed()
        plans = [False]
        if step == self._last_step and self._metadata(True) != self._metadata(False):
            plans.append(True)
        found: dict[str, float] = {}
        for at_end in plans:
            scores = self._scores(gan, at_end)
            if self._writes:
                with _skipping_failures(f"Scores of step {step} cannot be written"):
                    self._write(step, scores, at_end)
            found |= _tagged(scores, at_end)
        return found

    def _sampler_of(self, gan: video_gan.Networks) -> sampler_lib.Sampler:
        """Returns the sampler, which is created once because it is traced."""
        if self._sampler is None:
            self._sampler = sampler_lib.Sampler(
                gan, self._strategy, self._plan.standing_batches
            )
        return self._sampler

    def _protocol(self, name: str, at_end: bool) -> protocols_lib.Protocol:
        """Returns a protocol with the plan's number of videos."""
        protocol, plan = protocols_lib.get(name), self._plan
        count = plan.num_videos_at_end if at_end else plan.num_videos
        if count is None:
            return protocol
        return dataclasses.replace(
            protocol, num_generated=count, num_real=count, num_repeats=1
        )

    def _metadata(self, at_end: bool) -> dict:
        """Returns the protocols as they are written beside scores and read again."""
        metadata = {"window": dataclasses.asdict(self._window)}
        for name, metric in self._metrics.items():
            protocol = self._protocol(name, at_end)
            metadata[name] = {**metric.metadata, **dataclasses.asdict(protocol)}
            metadata[name]["split"] = self._split(protocol.split)
        return json.loads(json.dumps(metadata))

    def _split(self, named: str) -> str:
        """Returns the split of the data to use for a protocol's split."""
        found = self._held_out if named == "test" else named
        return found if found in self._splits else "train"

    def _scores(self, gan: video_gan.Networks, at_end: bool) -> dict[str, float]:
        scores = {}
        with tempfile.TemporaryDirectory(prefix="tf_dvdgan-") as folder:
            for score_name, metric in self._metrics.items():
                protocol = self._protocol(score_name, at_end)
                split, held_out = self._split(protocol.split), self._split("test")
                needed = dict.fromkeys([split, held_out] if metric.needs_real else [])
                real = {
                    name: metric.extract_features(self._real(name, protocol))
                    for name in needed
                }
                generated = [
                    metric.extract_features(source, cache_dir=folder)
                    for source in self._generated(gan, protocol)
                ]
                if not self._writes:  # only the chief has the features of all workers
                    continue
                others = real.get(held_out) if held_out != split else None
                score = metric.score(real.get(split), generated, others)
                scores[score_name] = score.value
                scores |= {f"{score_name}/{k}": v for k, v in score.others.items()}
            scores |= self._discriminated(gan, at_end, folder)
        return scores

    def _real(
        self, split: str, protocol: protocols_lib.Protocol
    ) -> sources.ClipSelection:
        window = dataclasses.replace(
            self._window,
            num_frames=protocol.num_frames or self._window.num_frames,
            stride=protocol.stride or self._window.stride,
        )
        return sources.ClipSelection(self._shards(split), window, protocol.num_real)

    def _generated(
        self, gan: video_gan.Networks, protocol: protocols_lib.Protocol
    ) -> Iterator[sources.ModelSource]:
        num_conditioning_frames = gan.generator.num_conditioning_frames
        frames, count = None, protocol.num_generated
        if num_conditioning_frames:  # continue the clips that it is compared with
            real = self._real(self._split(protocol.split), protocol)
            frames = real.first_frames(num_conditioning_frames, count)
        sampler = self._sampler_of(gan)
        for repeat in range(protocol.num_repeats):
            seed = protocol.seed + repeat
            yield sources.ModelSource(sampler, count, seed, frames=frames)

    def _discriminators_of(self, gan: video_gan.Networks) -> extraction.Extractor:
        """Returns the extractor of scores, created once because it is traced."""
        if self._discriminators is not None:
            return self._discriminators

        def feature_fn(videos: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
            videos = transforms.to_unit_range(videos)
            labels = gan.conditioning(labels, videos)["labels"]
            return {
                discriminator.name: discriminator(videos, labels, training=False)
                for discriminator in gan.discriminators
            }

        self._discriminators = extraction.Extractor(
            feature_fn, self._strategy, self._plan.batch_size
        )
        return self._discriminators

    def _discriminated(
        self, gan: video_gan.Networks, at_end: bool, folder: str
    ) -> dict[str, float]:
        """Computes the discriminators' mean scores of held-out and generated clips."""
        protocol = dataclasses.replace(
            self._protocol(self._plan.best, at_end), num_frames=None, stride=None
        )
        kinds: dict[str, sources.Source] = {
            "held_out": self._real(self._split("test"), protocol),
            "generated": next(self._generated(gan, protocol)),
        }
        extract = self._discriminators_of(gan)
        scores = {}
        for kind, source in kinds.items():
            found = extract(source, {"by": "discriminators"}, folder)
            for discriminator in gan.discriminators if self._writes else ():
                values = found.get(discriminator.name)
                scores[f"scores/{discriminator.name}_{kind}"] = float(np.mean(values))
        return scores

    def _write(self, step: int, scores: Mapping[str, float], at_end: bool) -> None:
        best, metadata = self._plan.best, self._metadata(at_end)
        self._summaries.scalars(step, _tagged(scores, at_end))
        earlier = [
            row["scores"][best]
            for row in self._directory.read_scores()
            if row["protocol"] == metadata and row["step"] != step
        ]
        sign = 1.0 if protocols_lib.get(best).lower_is_better else -1.0
        row = {"step": step, "scores": dict(scores), "protocol": metadata}
        # The checkpoint first: if killed in between, the step is evaluated again.
        if not at_end and all(sign * scores[best] < sign * value for value in earlier):
            with _skipping_failures(
                f"The best checkpoint, step {step}, cannot be copied"
            ):
                checkpoints.keep_as_best(self._directory.path, step)
        run_directory.add_row(self._directory.scores_file, row)


def _tagged(scores: Mapping[str, float], at_end: bool) -> dict[str, float]:
    return {f"at_end/{n}" if at_end else n: value for n, value in scores.items()}


@contextlib.contextmanager
def _skipping_failures(sentence: str) -> Iterator[None]:
    """Prints a write error after a sentence, and suppresses it."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        print(f"{sentence}: {errors.reason_of(error)}", flush=True)
