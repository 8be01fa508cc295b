"""Scores the checkpoints of a run as `Scorer` does, and keeps the best one."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_dvdgan import errors, pretrained, run_directory, terminal
from tf_dvdgan.data import readers, transforms, windows
from tf_dvdgan.evaluation.features import extraction, sources
from tf_dvdgan.evaluation.features.networks import weights as weights_lib
from tf_dvdgan.evaluation.runs import comparison, feature_metric, receipts
from tf_dvdgan.evaluation.runs import protocols as protocols_lib
from tf_dvdgan.evaluation.runs import scorer as scorer_lib
from tf_dvdgan.models import video_gan
from tf_dvdgan.sampling import sampler as sampler_lib
from tf_dvdgan.training import checkpoints, evaluation_plan, summaries
from tf_dvdgan.training import strategy as strategy_lib


def check_plan(plan: evaluation_plan.EvaluationPlan) -> None:
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
    if len(set(plan.protocols)) < len(plan.protocols):
        raise errors.UserError("evaluation.Plan.protocols has a protocol twice.")
    if plan.best not in plan.protocols:
        raise errors.UserError(
            f"evaluation.Plan.best is {plan.best!r}, but evaluation.Plan.protocols "
            f"has only {', '.join(plan.protocols)}."
        )


def check_weights(plan: evaluation_plan.EvaluationPlan) -> None:
    """Checks that a plan's weights files are there, before a run is created.

    Raises:
      UserError: one is not, or a protocol needs one and there is none.
    """
    paths = [pretrained.resolve(path) for path in plan.weights]
    for path in paths:
        weights_lib.read_metadata(path)
    for protocol in map(protocols_lib.get, plan.protocols):
        if protocol.needs_weights and not paths:
            feature_metric.file_for(protocol, paths, protocol.num_classes)


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
      networks: networks that have the weights of a checkpoint when it is evaluated.
      strategy: strategy that the networks' variables were created under, if any; the
        chief of its workers writes.

    Raises:
      UserError: the plan is invalid, or the weights or the model do not match the data.
    """

    def __init__(
        self,
        model_dir: str,
        data_dir: str,
        window: windows.Window,
        plan: evaluation_plan.EvaluationPlan,
        last_step: int,
        networks: video_gan.Networks,
        strategy: tf.distribute.Strategy | None = None,
    ):
        check_plan(plan)
        self._directory = run_directory.RunDirectory(model_dir)
        self._plan = plan
        self._last_step = last_step
        self._strategy = strategy or tf.distribute.get_strategy()
        self._writes = strategy_lib.is_chief(self._strategy)
        manifest = readers.load_manifest(data_dir, window.classes)
        sampler = sampler_lib.Sampler(networks, self._strategy, plan.standing_batches)
        self._scorer = scorer_lib.Scorer(
            data_dir,
            scorer_lib.Model(sampler, window, manifest.class_names, 0, model_dir),
            plan.weights,
            mean=plan.mean,
            held_out_split=plan.held_out,
            num_resamples=0,
            batch_size=plan.batch_size,
            cache_dir=None,
            strategy=self._strategy,
            show_progress=False,
        )
        self._discriminators = _discriminators_of(sampler, plan.batch_size)
        # By protocol, for each number of videos.
        self._settings = {
            at_end: {
                name: receipts.settings(
                    self._scorer.settings(self._protocol(name, at_end))
                )
                for name in plan.protocols
            }
            for at_end in (False, True)
        }
        self._warned: set[str] = set()
        self._summaries = summaries.Summaries(model_dir, "eval", self._writes)

    def evaluated(self) -> set[tuple[int, int | None]]:
        """Returns the steps that have scores by this plan, with their rollbacks.

        Returns:
          Pairs of a step and the number of rollbacks before it, see `is_in`: a run that
          was rolled back reaches a step again, with other weights. None in rows of
          earlier versions, which stands for any number.
        """
        rows = self._directory.read_scores()
        done, at_end = (self._steps_with_scores(rows, end) for end in (False, True))
        return done - ({pair for pair in done if pair[0] == self._last_step} - at_end)

    def _steps_with_scores(
        self, rows: Sequence[Mapping], at_end: bool
    ) -> set[tuple[int, int | None]]:
        """Returns the steps that have scores by all protocols of the plan."""
        of_protocols = (
            {
                (row["step"], row.get("rollbacks"))
                for row in rows
                if receipts.of_training(row) and receipts.settings(row) == settings
            }
            for settings in self._settings[at_end].values()
        )
        return set.intersection(*of_protocols)

    def evaluate(self, step: int, rollbacks: int = 0) -> dict[str, float]:
        """Scores the generator, with the averaged weights of a checkpoint.

        Computes new standing statistics, writes the scores, prints new warnings, and
        copies the checkpoint to `best/` if it is the best so far. The last step is also
        scored with the plan's `num_videos_at_end`.

        Args:
          step: step of the checkpoint.
          rollbacks: number of rollbacks of the run before it.

        Returns:
          The scores by name; those with `num_videos_at_end` begin with "at_end/".
        """
        self._scorer.weights_changed(step)
        plans = [False]
        if step == self._last_step and self._settings[True] != self._settings[False]:
            plans.append(True)
        found: dict[str, float] = {}
        for at_end in plans:
            records = self._records(at_end, rollbacks)
            if not self._writes:  # only the chief has the features of all workers
                continue
            with _skipping_failures(f"Scores of step {step} cannot be written"):
                self._write(step, records, at_end)
            found |= _tagged(records, at_end)
        return found

    def _protocol(self, name: str, at_end: bool) -> protocols_lib.Protocol:
        """Returns a protocol with the plan's number of videos."""
        protocol, plan = protocols_lib.get(name), self._plan
        count = plan.num_videos_at_end if at_end else plan.num_videos
        if count is None:
            return protocol
        return dataclasses.replace(
            protocol, num_generated=count, num_real=count, num_repeats=1
        )

    def _records(self, at_end: bool, rollbacks: int) -> list[dict[str, Any]]:
        """Scores by each protocol; the best's record has the discriminators' scores."""
        records = []
        for name in self._plan.protocols:
            protocol = self._protocol(name, at_end)
            result = self._scorer.score(protocol)
            others = {}
            if name == self._plan.best:
                others = self._discriminated(protocol)
            if self._writes:
                self._warn(name, result)
                record = receipts.record_of(result)
                record |= {"evaluation": True, "rollbacks": rollbacks}
                record["scores"] |= others
                records.append(record)
        return records

    def _discriminated(self, protocol: protocols_lib.Protocol) -> dict[str, float]:
        """Computes the discriminators' mean scores of held-out and generated clips."""
        whole = dataclasses.replace(protocol, num_frames=None, stride=None)
        _, generated = self._scorer.sides(whole)
        held_out = self._scorer.selection(dataclasses.replace(whole, split="test"))
        kinds: dict[str, sources.Source] = {
            "held_out": held_out,
            "generated": generated,
        }
        scores = {}
        with tempfile.TemporaryDirectory(prefix="tf_dvdgan-") as folder:
            for kind, source in kinds.items():
                found = self._discriminators(source, {"by": "discriminators"}, folder)
                for name in found.outputs if self._writes else ():
                    if name != "label":
                        mean = float(np.mean(found.get(name)))
                        scores[f"scores/{name}_{kind}"] = mean
        return scores

    def _warn(self, name: str, result: comparison.Result) -> None:
        """Prints warnings, each once in a run."""
        for message in result.warnings:
            warning = f"{name}: warning: {message}"
            if warning not in self._warned:
                self._warned.add(warning)
                print(terminal.printable(warning), flush=True)

    def _write(
        self, step: int, records: Sequence[Mapping[str, Any]], at_end: bool
    ) -> None:
        best, rollbacks = self._plan.best, records[0].get("rollbacks")
        self._summaries.scalars(step, _tagged(records, at_end))
        earlier = [
            row["scores"][best]
            for row in self._directory.read_scores()
            if (row["step"], row.get("rollbacks")) != (step, rollbacks)
            and receipts.of_training(row)
            and receipts.settings(row) == self._settings[at_end][best]
        ]
        (score,) = (r["scores"][best] for r in records if best in r["scores"])
        sign = 1.0 if protocols_lib.get(best).lower_is_better else -1.0
        # The checkpoint first: if killed in between, the step is evaluated again.
        if not at_end and all(sign * score < sign * value for value in earlier):
            with _skipping_failures(
                f"The best checkpoint, step {step}, cannot be copied"
            ):
                checkpoints.keep_as_best(self._directory.path, step)
        run_directory.add_row(self._directory.scores_file, *records)


def is_in(
    step: int, rollbacks: int, evaluated: Collection[tuple[int, int | None]]
) -> bool:
    """Returns whether `Evaluator.evaluated` has a step of a run.

    Args:
      step: the step.
      rollbacks: number of rollbacks of the run before it.
      evaluated: pairs of steps and rollbacks.

    Returns:
      True or False.
    """
    return (step, rollbacks) in evaluated or (step, None) in evaluated


def _discriminators_of(
    sampler: sampler_lib.Sampler, batch_size: int
) -> extraction.Extractor:
    """Returns the extractor of the discriminators' scores, by their names."""
    networks = sampler.networks

    def feature_fn(videos: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        videos = transforms.to_unit_range(videos)
        labels = networks.conditioning(labels, videos)["labels"]
        return {
            discriminator.name: discriminator(videos, labels, training=False)
            for discriminator in networks.discriminators
        }

    return extraction.Extractor(feature_fn, sampler.strategy, batch_size)


def _tagged(records: Sequence[Mapping[str, Any]], at_end: bool) -> dict[str, float]:
    """Returns the scores of all records, by their names in TensorBoard."""
    return {
        f"at_end/{name}" if at_end else name: value
        for record in records
        for name, value in record["scores"].items()
    }


@contextlib.contextmanager
def _skipping_failures(message: str) -> Iterator[None]:
    """Prints a write error after a sentence, and suppresses it."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        print(f"{message}: {errors.reason_of(error)}", flush=True)
