"""The actions of every run: TensorBoard, alarms, sample sheets, checkpoints, scores."""

from tf_dvdgan.training import alarms as alarms_lib
from tf_dvdgan.training import (
    checkpoint_manager,
    loop,
    overfitting,
    sample_sheets,
    tensorboard,
)
from tf_dvdgan.training import schedule as schedule_lib
from tf_dvdgan.training import strategy as strategy_lib


class SaveAndScore:
    """Writes checkpoints and scores them.

    Args:
      saved: checkpoints of the run.
      schedule: schedule of the run.
      evaluation: scores each checkpoint; None for no scores.
    """

    def __init__(
        self,
        saved: checkpoint_manager.CheckpointManager,
        schedule: schedule_lib.Schedule,
        evaluation: loop.Evaluation | None,
    ):
        self._saved = saved
        self._schedule = schedule
        self._evaluation = evaluation

    def start(self, state: loop.State) -> None:
        """Scores the initial state, or a checkpoint that lacks scores on resuming."""
        if not self._evaluation:
            return
        if state.step == 0:
            self.save(state)
            self.score(state)
        elif state.step % self._schedule.checkpoint_every == 0:
            self._evaluation.evaluate_if_missing(state)

    def save(self, state: loop.State) -> None:
        """Writes a checkpoint.

        Args:
          state: state of the run.

        Raises:
          SaveError: it cannot be written, and `on_failed_save` is 'stop'.
        """
        try:
            self._saved.save(state.step, wait=self._evaluation is not None)
        except checkpoint_manager.SaveError as error:
            if self._schedule.on_failed_save == "stop":
                raise
            if strategy_lib.is_chief(state.trainer.strategy):
                print(f"{error} Training continues.", flush=True)

    def score(self, state: loop.State) -> None:
        """Scores the checkpoint, if it could be written."""
        if self._evaluation and self._saved.last_saved == state.step:
            self._evaluation(state)


def create(
    schedule: schedule_lib.Schedule,
    board: tensorboard.TensorBoard,
    alarms: alarms_lib.Alarms,
    held_out: overfitting.HeldOutScores | None,
    sheets: sample_sheets.SampleSheets,
    saving: SaveAndScore,
) -> list[loop.Action]:
    """Creates the actions of a run, in the order in which they are called.

    An alarm may raise the augmentation: a step is saved after all alarms, so that its
    checkpoint has the state from which training continues.

    Args:
      schedule: schedule of the run.
      board: writes TensorBoard's curves.
      alarms: checks whether the run has diverged.
      held_out: measures overfitting, for an adaptation that needs it.
      sheets: writes sample sheets.
      saving: writes and scores checkpoints.

    Returns:
      The actions.
    """
    saves, samples = schedule.checkpoint_every, schedule.samples_every

    def check_metrics(state: loop.State) -> None:
        alarms.check_metrics(state.step, state.metrics)

    # What changes the run's state is not done at the end, unless it is due: a run that
    # is continued is the same as a longer one.

    def check_accuracies(state: loop.State) -> None:
        if state.step % alarms.check_every == 0:
            alarms.check_accuracies(state.step)

    def measure_overfitting(state: loop.State) -> None:
        if held_out and state.step % held_out.every == 0:
            held_out.measure()

    def write_samples(state: loop.State) -> None:
        diversity = sheets.write(state.step)
        if state.step % samples == 0:
            alarms.check_diversity(state.step, diversity)

    return [
        loop.Action("TensorBoard", None, board.write_metrics),
        loop.Action("alarms", None, check_metrics),
        loop.Action("accuracies", alarms.check_every, check_accuracies),
        *(
            [loop.Action("overfitting", held_out.every, measure_overfitting)]
            if held_out
            else []
        ),
        loop.Action("singular values", samples, board.write_singular_values),
        loop.Action("samples", samples, write_samples),
        loop.Action("checkpoint", saves, saving.save),
        loop.Action("scores", saves, saving.score),
    ]
