"""Continuous evaluation: of every checkpoint, while the run trains or beside it."""

import time

import gin
import tensorflow as tf

from tf_dvdgan.evaluation import evaluator as evaluator_lib
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import checkpoints, loop, optimizers, trainer
from tf_dvdgan.training import strategy as strategy_lib

_POLL_SECONDS = 10.0


@gin.configurable(module="evaluation")
def watch(
    model_dir: str,
    data_dir: str,
    strategy: tf.distribute.Strategy,
    schedule: loop.Schedule = loop.Schedule(),
) -> None:
    """Evaluates each checkpoint of a run once, until that of its last step.

    Args:
      model_dir: of the run.
      data_dir: of prepared shards.
      strategy: where to generate and to judge; several workers share the work.
      schedule: says which step is the last.
    """
    class_names = loop.load_class_names(model_dir)
    with strategy.scope():
        gan = video_gan.build(class_names)
        gan.build()
    others = {d.name: d for d in gan.discriminators}
    chief = strategy_lib.is_chief(strategy)
    evaluator = evaluator_lib.Evaluator(model_dir, data_dir, strategy, writes=chief)
    done = evaluator.evaluated()
    print(f"Watching {model_dir}; {len(done)} steps have scores", flush=True)
    passed_over = []
    while schedule.num_steps not in done:
        new = [step for step in checkpoints.steps(model_dir) if step not in done]
        # Workers may see a folder change at different times; the chief's word counts.
        step = int(strategy_lib.of_chief(strategy, new[0] if new else -1))
        if step < 0:
            time.sleep(_POLL_SECONDS)
            continue
        done.add(step)
        try:
            with strategy.scope():
                checkpoints.restore_generator(model_dir, gan.generator, step, others)
            gan.frame_bank = loop.load_frame_bank(model_dir)
            scores = evaluator.evaluate(gan, step)
        except checkpoints.UnreadableError as error:  # or taken away by the run
            print(f"Step {step} is passed over: {error}", flush=True)
            passed_over.append(str(step))
        else:
            if chief:
                _tell(step, scores)
    rest = f"all but {', '.join(passed_over)} are" if passed_over else "all is"
    print(f"Step {schedule.num_steps} is the run's last; {rest} evaluated")


class InTraining:
    """Evaluates each checkpoint in the process that trains; give it to `loop.train`.

    Args:
      model_dir: of the run.
      data_dir: of prepared shards.
    """

    def __init__(self, model_dir: str, data_dir: str):
        gin.get_configurable(evaluator_lib.Plan)()  # refused now, not in an hour
        self._arguments = (model_dir, data_dir)
        self._evaluator: evaluator_lib.Evaluator | None = None

    def __call__(self, the_trainer: trainer.Trainer, step: int) -> None:
        """Scores averaged weights; the training state is as before afterwards."""
        evaluator = self._evaluator_on(the_trainer.strategy)
        with optimizers.averaged_weights(
            the_trainer.generator_optimizer, the_trainer.generator_variables
        ):
            scores = evaluator.evaluate(the_trainer.gan, step)
        if strategy_lib.is_chief(the_trainer.strategy):
            _tell(step, scores)

    def catch_up(self, the_trainer: trainer.Trainer, step: int) -> None:
        """Scores a checkpoint, unless the process that wrote it has done so."""
        strategy = the_trainer.strategy
        lacks = step not in self._evaluator_on(strategy).evaluated()
        if strategy_lib.of_chief(strategy, lacks):  # others may see less
            self(the_trainer, step)

    def _evaluator_on(
        self, strategy: tf.distribute.Strategy
    ) -> evaluator_lib.Evaluator:
        if self._evaluator is None:
            chief = strategy_lib.is_chief(strategy)
            self._evaluator = evaluator_lib.Evaluator(
                *self._arguments, strategy, writes=chief
            )
        return self._evaluator


def _tell(step: int, scores: dict[str, float]) -> None:
    text = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
    print(f"scores of step {step}: {text}", flush=True)
