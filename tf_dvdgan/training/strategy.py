"""Where training runs: one device, several of a machine or of several, a TPU slice."""

import functools
import json
import os
from collections.abc import Callable, Sequence

import tensorflow as tf

from tf_dvdgan import errors

# What a worker gets when another has gone, or the connection to it.
LOST_WORKER_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


def create(name: str = "auto", tpu: str | None = None) -> tf.distribute.Strategy:
    """Makes the strategy, and readies its devices.

    Several workers find one another by `TF_CONFIG`, as TensorFlow documents it; each
    waits here until all are there.

    Args:
      name: 'auto' takes a TPU if one is named, else the workers if `TF_CONFIG` names
        several, else all GPUs, else the CPU.
      tpu: 'local' on a TPU VM, a TPU's name, or its grpc:// address.

    Raises:
      UserError: the TPU cannot be reached, or is named beside another strategy; or
        `TF_CONFIG` cannot be used.
    """
    if tpu and name not in ("auto", "tpu"):
        raise errors.UserError(f"--tpu is of --strategy=tpu, not of {name}.")
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
    """Whether several processes train together, each of which runs this program."""
    return _num_workers(strategy) > 1


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes what must be written once."""
    return place_among_workers(strategy)[0] == 0


def sum_over_workers(
    strategy: tf.distribute.Strategy, values: Sequence[float]
) -> list[float]:
    """Sums each number over all workers; every one of them must call it.

    What one worker knows alone (that it was asked to stop) and what all must take from
    one (how many steps come next) are both sums.
    """
    if not spans_workers(strategy):
        return list(values)

    return _adder(strategy)(tf.constant(values, tf.float64)).numpy().tolist()


def of_chief(strategy: tf.distribute.Strategy, value: float) -> float:
    """The chief's value, on every worker: what they decide must be the same."""
    return sum_over_workers(strategy, [value if is_chief(strategy) else 0.0])[0]


@functools.lru_cache(maxsize=1)
def _adder(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    """Compiled once: it runs between all calls of the training step."""
    replicas_each = strategy.num_replicas_in_sync // _num_workers(strategy)

    def add(numbers: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        share = numbers / replicas_each  # made on the replica's device
        return context.all_reduce(tf.distribute.ReduceOp.SUM, share)

    @tf.function
    def over_workers(numbers: tf.Tensor) -> tf.Tensor:
        summed = strategy.run(add, args=(numbers,))
        return strategy.experimental_local_results(summed)[0]

    return over_workers


def place_among_workers(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """This worker's number, the chief's being 0, and how many there are."""
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
    """Addresses of the workers that `TF_CONFIG` names."""
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        cluster = json.loads(text).get("cluster", {})
        return [a for job in ("chief", "worker") for a in cluster.get(job, [])]
    except (ValueError, AttributeError, TypeError) as error:
        raise errors.UserError(
            f"TF_CONFIG is not what TensorFlow documents: {error}."
        ) from None


def _multi_worker() -> tf.distribute.Strategy:
    workers = _workers_named()
    if not workers:
        raise errors.UserError(
            "--strategy=multi_worker wants TF_CONFIG to name the workers and this one, "
            "as in docs/multi_worker.md."
        )
    if len(workers) > 1:
        task = json.loads(os.environ["TF_CONFIG"]).get("task", {})
        print(
            f"{task.get('type')} {task.get('index')} of {len(workers)} waits for the "
            "others",
            flush=True,
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (ValueError, tf.errors.OpError, RuntimeError) as error:
        raise errors.UserError(
            f"The workers of TF_CONFIG do not come together: "
            f"{str(error).splitlines()[0]}"
        ) from None


def _tpu(tpu: str) -> tf.distribute.Strategy:
    try:
        # Resolves, connects and initializes, in the order that TPUs want.
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(tpu)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, tf.errors.OpError, OSError) as error:
        raise errors.UserError(
            f"The TPU {tpu!r} cannot be used: {str(error).splitlines()[0]} Name it "
            "with --tpu, or run elsewhere with --strategy=auto."
        ) from None
