"""Where training runs: one device, several of a machine, or a TPU slice."""

import tensorflow as tf

from tf_dvdgan import cli

NAMES = ("auto", "one_device", "mirrored", "tpu")


def create(name: str = "auto", tpu: str | None = None) -> tf.distribute.Strategy:
    """Makes the strategy, and readies its devices.

    Args:
      name: 'auto' takes a TPU if one is named, else all GPUs, else the CPU.
      tpu: 'local' on a TPU VM, a TPU's name, or its grpc:// address.

    Raises:
      UserError: the TPU cannot be reached.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if name == "auto":
        name = "tpu" if tpu else "mirrored" if len(gpus) > 1 else "one_device"
    if name == "tpu":
        return _tpu(tpu or "local")
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0")


def _tpu(tpu: str) -> tf.distribute.Strategy:
    try:
        # Resolves, connects and initialises, in the order that TPUs want.
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(tpu)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, tf.errors.OpError, OSError) as error:
        raise cli.UserError(
            f"The TPU {tpu!r} cannot be used: {str(error).splitlines()[0]} Name it "
            "with --tpu, or run elsewhere with --strategy=auto."
        ) from None
