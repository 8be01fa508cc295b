"""Evaluates every checkpoint of a run, in the same process or in a separate one."""

import time

import tensorflow as tf

from tf_dvdgan import run_directory
from tf_dvdgan.data import windows
from tf_dvdgan.evaluation.runs import evaluator as evaluator_lib
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import checkpoints, evaluation_plan, loop
from tf_dvdgan.training import strategy as strategy_lib

_POLL_SECONDS = 10.0


def watch(
    networks: video_gan.Networks,
    evaluator: evaluator_lib.Evaluator,
    model_dir: str,
    last_step: int,
    strategy: tf.distribute.Strategy,
) -> None:
    """Evaluates each checkpoint of a run once, until that of its last step.

    Args:
      networks: networks of the run, built under the strategy.
      evaluator: evaluator of the run, with these networks and the strategy.
      model_dir: directory of the run.
      last_step: last step of the run.
      strategy: where to sample and to extract features; several workers share the work.
    """
    directory = run_directory.RunDirectory(model_dir)
    others = {d.name: d for d in networks.discriminators}
    chief = strategy_lib.is_chief(strategy)
    done = evaluator.evaluated()
    print(f"Watching {model_dir}; {len(done)} steps have scores", flush=True)
    skipped, reached = [], _Reached()
    while not any(step == last_step for step, _ in done):
        new = [
            pair
            for pair in (reached(model_dir) if chief else ())
            if not evaluator_lib.is_in(*pair, done)
        ]
        # Workers may see a folder change at different times; the chief's view counts.
        step, rollbacks = (
            int(strategy_lib.broadcast_from_chief(strategy, number))
            for number in (new[0] if new else (-1, 0))
        )
        if step < 0:
            time.sleep(_POLL_SECONDS)
            continue
        done.add((step, rollbacks))
        try:
            with strategy.scope():
                checkpoints.restore_generator(
                    model_dir, networks.generator, step, others, among_best=False
                )
            networks.frame_bank = directory.read_frame_bank()
            scores = evaluator.evaluate(step, rollbacks)
        except checkpoints.UnreadableError as error:  # or removed by the run
            print(f"Step {step} is skipped: {error}", flush=True)
            skipped.append(str(step))
        else:
            if chief:
                _print_scores(step, scores)
    steps = f"all steps except {', '.join(skipped)}" if skipped else "all steps"
    print(f"The run ended at step {last_step}; {steps} have been evaluated")


class _Reached:
    """Finds the steps of a run's checkpoints, with the rollbacks before each."""

    def __init__(self) -> None:
        self._known: dict[tuple, int] = {}

    def __call__(self, model_dir: str) -> list[tuple[int, int]]:
        """Returns pairs of a step and a number of rollbacks, in order.

        A checkpoint is read once, and again when its file has changed.
        """
        found = []
        for step in checkpoints.steps(model_dir):
            try:
                key = step, checkpoints.written_at(model_dir, step)
                rollbacks = self._known.get(key)
                if rollbacks is None:
                    rollbacks = checkpoints.num_rollbacks(model_dir, step)
            except checkpoints.UnreadableError:  # reported when it is restored
                found.append((step, 0))
            except (tf.errors.OpError, OSError):  # removed by the run
                continue
            else:
                found.append((step, rollbacks))
                if key[1]:  # a file system may not know the time
                    self._known[key] = rollbacks
        return found


class EvaluationCallback(loop.Evaluation):
    """Evaluates each checkpoint in the training process, after it is saved.

    Args:
      model_dir: directory of the run.
      data_dir: folder of prepared shards.
      window: window of the real clips.
      plan: how checkpoints are scored.
      last_step: last step of the run.

    Raises:
      UserError: the plan is invalid.
    """

    def __init__(
        self,
        model_dir: str,
        data_dir: str,
        window: windows.Window,
        plan: evaluation_plan.EvaluationPlan,
        last_step: int,
    ):
        evaluator_lib.check_plan(plan)  # reports errors before training
        self._arguments = (model_dir, data_dir, window, plan, last_step)
        self._evaluator: evaluator_lib.Evaluator | None = None

    def __call__(self, state: loop.State) -> None:
        """Scores the averaged weights; does not change the training state."""
        self._evaluate(state, int(state.trainer.num_rollbacks.numpy()))

    def _evaluate(self, state: loop.State, rollbacks: int) -> None:
        evaluator = self._evaluator_of(state)
        with state.averaged_weights():
            scores = evaluator.evaluate(state.step, rollbacks)
        if strategy_lib.is_chief(state.trainer.strategy):
            _print_scores(state.step, scores)

    def evaluate_if_missing(self, state: loop.State) -> None:
        strategy = state.trainer.strategy
        # That of the checkpoint, which a rollback to it does not change.
        try:
            rollbacks = checkpoints.num_rollbacks(state.model_dir, state.step)
        except checkpoints.UnreadableError:
            rollbacks = 0
        done = self._evaluator_of(state).evaluated()
        is_missing = not evaluator_lib.is_in(state.step, rollbacks, done)
        # Workers may see different versions of the file; the chief's counts.
        if strategy_lib.broadcast_from_chief(strategy, is_missing):
            self._evaluate(state, rollbacks)

    def _evaluator_of(self, state: loop.State) -> evaluator_lib.Evaluator:
        """Returns the evaluator, which is created once because it is traced."""
        if self._evaluator is None:
            trainer = state.trainer
            self._evaluator = evaluator_lib.Evaluator(
                *self._arguments, trainer.gan, trainer.strategy
            )
        return self._evaluator


def _print_scores(step: int, scores: dict[str, float]) -> None:
    text = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
    print(f"scores of step {step}: {text}", flush=True)
