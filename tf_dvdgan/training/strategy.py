"""Distribution strategies: one device, several on one or more machines, or TPUs."""

import functools
import json
import os
from collections.abc import Callable, Sequence

import tensorflow as tf

from tf_dvdgan import errors

# Raised on a worker when another worker, or the connection to it, is lost.
LOST_WORKER_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


def create(name: str = "auto", tpu: str | None = None) -> tf.distribute.Strategy:
    """Creates a distribution strategy and initializes its devices.

    Multiple workers find each other through TensorFlow's `TF_CONFIG`; this call blocks
    until all of them have connected.

    Args:
      name: 'tpu', 'multi_worker', 'mirrored', 'one_device', or 'auto': the TPU if `tpu`
        is set, else all workers if `TF_CONFIG` has several, else all GPUs, else the
        CPU.
      tpu: 'local' on a TPU VM, a TPU's name, or its grpc:// address.

    Returns:
      The strategy.

    Raises:
      UserError: the TPU cannot be reached, `tpu` is set with another strategy, or
        `TF_CONFIG` is not valid.
    """
    if tpu and name not in ("auto", "tpu"):
        raise errors.UserError(f"`tpu` requires `strategy=tpu` or auto, not {name}.")
    gpus = tf.config.list_physical_devices("GPU")
    if name == "auto":
        name = "multi_worker" if len(_workers_named()) > 1 else "one_device"
        name = "mirrored" if name == "one_device" and len(gpus) > 1 else name
        name = "tpu" if tpu else name
    if name == "tpu":
        return _tpu(tpu or "local")
    if name == "multi_worker":
        return _multi_worker()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0")


def spans_workers(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether several worker processes train together."""
    return _num_workers(strategy) > 1


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process writes the outputs that only one worker writes."""
    return worker_index_and_count(strategy)[0] == 0


def sum_over_workers(
    strategy: tf.distribute.Strategy, values: Sequence[float]
) -> list[float]:
    """Sums each value over all workers, which must all call it.

    Args:
      strategy: distribution strategy.
      values: this worker's values.

    Returns:
      The sums, equal on all workers.
    """
    if not spans_workers(strategy):
        return list(values)
    return _adder(strategy)(tf.constant(values, tf.float64)).numpy().tolist()


def broadcast_from_chief(strategy: tf.distribute.Strategy, value: float) -> float:
    """Broadcasts the chief's value, so that all workers take the same decision.

    Args:
      strategy: distribution strategy.
      value: this worker's value; ignored unless it is the chief.

    Returns:
      The chief's value.
    """
    return sum_over_workers(strategy, [value if is_chief(strategy) else 0.0])[0]


@functools.lru_cache(maxsize=1)
def _adder(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the compiled sum; cached, as it runs between all training calls."""
    replicas_each = strategy.num_replicas_in_sync // _num_workers(strategy)

    def add(numbers: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        share = numbers / replicas_each  # placed on the replica's device
        return context.all_reduce(tf.distribute.ReduceOp.SUM, share)

    @tf.function
    def over_workers(numbers: tf.Tensor) -> tf.Tensor:
        summed = strategy.run(add, args=(numbers,))
        return strategy.experimental_local_results(summed)[0]

    return over_workers


def worker_index_and_count(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Returns this worker's index (0 is the chief) and the number of workers."""
    count = _num_workers(strategy)
    if count == 1:
        return 0, 1
    resolver = strategy.cluster_resolver
    has_chief = "chief" in resolver.cluster_spec().jobs
    follows_chief = has_chief and resolver.task_type != "chief"
    return resolver.task_id + follows_chief, count


def _num_workers(strategy: tf.distribute.Strategy) -> int:
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    cluster = strategy.cluster_resolver.cluster_spec().as_dict()
    return max(1, sum(len(cluster.get(job, [])) for job in ("chief", "worker")))


def _workers_named() -> list[str]:
    """Returns the addresses of the workers in `TF_CONFIG`."""
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        cluster = json.loads(text).get("cluster", {})
        return [a for job in ("chief", "worker") for a in cluster.get(job, [])]
    except (ValueError, AttributeError, TypeError) as error:
        raise errors.UserError(f"TF_CONFIG is not valid: {error}.") from None


def _multi_worker() -> tf.distribute.Strategy:
    workers = _workers_named()
    if not workers:
        raise errors.UserError(
            "`strategy=multi_worker` needs TF_CONFIG to list the workers and this "
            "one's index, as in docs/multi_worker.md."
        )
    if len(workers) > 1:
        task = json.loads(os.environ["TF_CONFIG"]).get("task", {})
        print(
            f"{task.get('type')} {task.get('index')} of {len(workers)} is waiting for "
            "the others",
            flush=True,
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (ValueError, tf.errors.OpError, RuntimeError) as error:
        raise errors.UserError(
            f"The workers in TF_CONFIG cannot connect: {errors.reason_of(error)}"
        ) from None


def _tpu(tpu: str) -> tf.distribute.Strategy:
    try:
        # Resolves, connects and initializes, in the order that TPUs require.
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(tpu)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, tf.errors.OpError, OSError) as error:
        raise errors.UserError(
            f"The TPU {tpu!r} cannot be used: {errors.reason_of(error)} Set its "
            "name with `tpu`, or use another device with `strategy=auto`."
        ) from None
