"""Trains and evaluates runs by their Gin config, for commands and `VideoGAN.fit`."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gin
import tensorflow as tf

from tf_dvdgan import config, terminal, trained
from tf_dvdgan.data import files, manifest, training_data
from tf_dvdgan.evaluation.runs import evaluator, watch
from tf_dvdgan.training import loop as loop_lib
from tf_dvdgan.training import strategy as strategy_lib
from tf_dvdgan.training import train as train_lib


class WorkerLostError(Exception):
    """Another worker of the training, or the connection to it, is lost."""


def train(
    model_dir: str,
    data_dir: str,
    gin_file: str | Sequence[str] = (),
    gin_param: str | Sequence[str] = (),
    *,
    strategy: str = "auto",
    tpu: str | None = None,
    evaluate: bool = False,
    profile_steps: int = 0,
    init_from: str | None = None,
    init_step: int | str | None = None,
) -> signal.Signals | None:
    """Trains a GAN from Gin files, or resumes a run.

    Args:
      model_dir: directory of the run; created if it does not exist.
      data_dir: folder of prepared shards.
      gin_file: a Gin file or several, by path or by name in the package; by default
        the run's config.
      gin_param: a Gin binding or several, such as 'RESOLUTION = 64'.
      strategy: name of a distribution strategy, see `strategy.create`.
      tpu: the TPU, see `strategy.create`.
      evaluate: whether to score every checkpoint by the config's `evaluation.Plan`.
      profile_steps: number of steps to trace for TensorBoard's profiler.
      init_from: directory of another run, whose weights a new run starts from.
      init_step: step of that run's checkpoint, or 'best'; the newest by default.

    Returns:
      None after the last step, else the signal that stopped the run.

    Raises:
      UserError: the data, the config and the run do not match, or the run has diverged.
      WorkerLostError: another worker is lost; all workers must start again.
    """
    manifest.load(data_dir)  # reports a wrong path before devices are set up
    devices = None

    def create_devices() -> tf.distribute.Strategy:
        nonlocal devices
        devices = strategy_lib.create(strategy, tpu)
        return devices

    try:
        with prepared(
            _config_of(model_dir, _listed(gin_file), _listed(gin_param)),
            model_dir,
            lambda: data_dir,
            create_devices,
            evaluate_on=data_dir if evaluate else None,
            profile_steps=profile_steps,
            init_from=init_from,
            init_step=init_step,
        ) as loop:
            return loop.run() if loop else None
    except strategy_lib.LOST_WORKER_ERRORS as error:
        if devices is None or not strategy_lib.spans_workers(devices):
            raise
        raise WorkerLostError(type(error).__name__) from error


@contextlib.contextmanager
def _config_of(
    model_dir: str, gin_files: Sequence[str], gin_params: Sequence[str]
) -> Iterator[None]:
    """Activates the config of Gin files, or of a run, within a context."""
    with config.isolated():
        if config.is_run(model_dir) and not gin_files:
            config.load_run(model_dir, gin_params)
        else:
            config.load(gin_files, gin_params)
        yield


@contextlib.contextmanager
def prepared(
    active_config: contextlib.AbstractContextManager[None],
    model_dir: str,
    data: Callable[[], str | training_data.TrainingData],
    strategy: Callable[[], tf.distribute.Strategy],
    *,
    evaluate_on: str | None = None,
    **options: Any,
) -> Iterator[loop_lib.TrainingLoop | None]:
    """Locks a run's directory and prepares the run, within a context.

    Args:
      active_config: activates the run's config in Gin, which is one for all threads:
        only until the run is prepared.
      model_dir: directory of the run; created if it does not exist.
      data: returns a folder of prepared shards, or other training data.
      strategy: returns where to train.
      evaluate_on: folder of prepared shards, to score every checkpoint by the config's
        `evaluation.Plan`; None for no scores.
      **options: further arguments of `train.prepare`.

    Yields:
      The training loop; None if the run is complete.

    Raises:
      UserError: the data, the config and the run do not match.
    """
    files.register_filesystems(model_dir, writing=True)
    with contextlib.ExitStack() as until_the_end:
        with active_config:
            files.check_writable(model_dir, as_folder=True, by_tensorflow=True)
            plan = gin.get_configurable("evaluation.Plan")()
            evaluator.check_plan(plan)  # another process may evaluate
            if evaluate_on is not None:
                evaluator.check_weights(plan)
            devices = strategy()
            until_the_end.enter_context(train_lib.locked(model_dir, devices))
            evaluation = None
            if evaluate_on is not None:
                window = gin.get_configurable("data.Window")()
                num_steps = gin.get_configurable("training.Schedule")().num_steps
                evaluation = watch.EvaluationCallback(
                    model_dir, evaluate_on, window, plan, num_steps
                )
            loop = train_lib.from_config(
                model_dir,
                data(),
                devices,
                window=gin.REQUIRED,
                evaluation=evaluation,
                **{"protocols": plan.protocols, **options},
            )
        yield loop


def evaluate(
    model_dir: str,
    data_dir: str,
    gin_param: str | Sequence[str] = (),
    *,
    strategy: str = "auto",
    tpu: str | None = None,
) -> None:
    """Waits for a run's checkpoints and scores each, until the run's last step.

    Args:
      model_dir: directory of the run; if there is no run yet, waits for it.
      data_dir: folder of prepared shards.
      gin_param: a Gin binding or several, which replace the run's.
      strategy: name of a distribution strategy, see `strategy.create`.
      tpu: the TPU, see `strategy.create`.

    Raises:
      UserError: the data, the config and the run do not match.
    """
    files.register_filesystems(model_dir, writing=True)
    manifest.load(data_dir)
    if not config.is_run(model_dir):
        print(f"Waiting for a run in {terminal.printable(model_dir)}", flush=True)
    while not config.is_run(model_dir):
        time.sleep(1.0)
    with config.isolated():
        config.load_run(model_dir, _listed(gin_param))
        devices = strategy_lib.create(strategy, tpu)
        plan = gin.get_configurable("evaluation.Plan")()
        last_step = gin.get_configurable("training.Schedule")().num_steps
        with devices.scope():
            networks, window = trained.build(model_dir)
        of_run = evaluator.Evaluator(
            model_dir, data_dir, window, plan, last_step, networks, devices
        )
    watch.watch(networks, of_run, model_dir, last_step, devices)


def _listed(values: str | Sequence[str]) -> list[str]:
    return [values] if isinstance(values, str) else list(values)
