"""The training step, or generation, as an HLO module.

Variables are created as in training, but their values do not matter: slow initializers
are skipped. TensorFlow's bridge to XLA lowers the program on the CPU; it never runs.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import gin
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.models import video_gan
from tf_dvdgan.training import trainer

_MAX_NAMED = 3


class NotForXlaError(Exception):
    """TensorFlow cannot lower the program to XLA; the message names the operation."""


class TrainingStep:
    """`Trainer.replica_step` of one replica.

    Args:
      class_names: of the data.

    Attributes:
      gan: the model with all its variables.
      batches_per_step: number of batches per replica in a step.
    """

    def __init__(self, class_names: Sequence[str]):
        strategy = tf.distribute.OneDeviceStrategy("CPU:0")
        with _values_do_not_matter():
            # Of the smallest batch; `hlo` sets it.
            least = _accumulate_steps()
            self._trainer = trainer.from_config(
                strategy, class_names, video_gan.from_config, global_batch_size=least
            )
        the_trainer = self._trainer
        optimizers = [the_trainer.generator_optimizer]
        if the_trainer.discriminator_variables:
            optimizers.append(the_trainer.discriminator_optimizer)
        weights = [v for optimizer in optimizers for v in optimizer.weights]
        _release([*the_trainer.gan.variables, *weights])
        self.gan = self._trainer.gan
        self.batches_per_step = self._trainer.num_d_steps

    @property
    def gradient_bytes(self) -> int:
        """Size of all gradients that replicas sum in a step."""
        rounds = self._trainer.num_d_steps
        updates = [(1, self._trainer.generator_variables)]
        if self.gan.discriminators:
            updates.append((rounds, self._trainer.discriminator_variables))
        return sum(n * _num_bytes(variables) for n, variables in updates)

    def metadata(self) -> dict:
        """Metadata of the program, to be written with its figures."""
        return _metadata(self.gan) | {
            "gradient_bytes": self.gradient_bytes,
            "num_d_steps": self._trainer.num_d_steps,
        }

    def hlo(self, batch: int) -> bytes:
        """The step with `batch` videos per replica, as a serialized HLO module."""
        self._trainer.global_batch_size = batch
        one = {
            "video": tf.TensorSpec([batch, *_video_shape(self.gan)], tf.uint8),
            "label": tf.TensorSpec([batch], tf.int32),
        }
        return to_hlo(self._trainer.replica_step, [one] * self._trainer.num_d_steps)


def _accumulate_steps() -> int:
    bindings = gin.get_bindings("trainer.build", resolve_references=False)
    return bindings.get("accumulate_steps", 1)


class Generation:
    """`Networks.generate` with standing statistics.

    Args:
      class_names: of the data.

    Attributes:
      gan: the model with all its variables.
      gradient_bytes: 0, as replicas sum no gradients.
      batches_per_step: 1.
    """

    gradient_bytes = 0
    batches_per_step = 1

    def __init__(self, class_names: Sequence[str]):
        self.gan = video_gan.from_config(class_names)
        with _values_do_not_matter():
            self.gan.build()
        _release(self.gan.variables)

    def metadata(self) -> dict:
        """Metadata of the program, to be written with its figures."""
        return _metadata(self.gan)

    def hlo(self, batch: int) -> bytes:
        """Generation of `batch` videos, as a serialized HLO module."""
        generator = self.gan.generator
        arguments = {
            "z": tf.TensorSpec([batch, self.gan.latent.size]),
            "labels": tf.TensorSpec([batch], tf.int32),
        }
        if generator.num_conditioning_frames:
            _, *rest = _video_shape(self.gan)
            shape = [batch, generator.num_conditioning_frames, *rest]
            arguments["frames"] = tf.TensorSpec(shape)

        def generate(given):
            frames = given.get("frames")
            conditioning = self.gan.conditioning(given["labels"], frames)
            return self.gan.generate(given["z"], conditioning)["videos"]

        return to_hlo(generate, arguments)


def to_hlo(function: Callable, specs) -> bytes:
    """Lowers a function to XLA.

    Args:
      function: takes one argument, a nest of tensors.
      specs: the argument's structure, with a `tf.TensorSpec` for each tensor.

    Returns:
      A serialized HLO module.

    Raises:
      NotForXlaError: the function has an operation that XLA does not support.
    """
    flat = tf.nest.flatten(specs)
    compiled = tf.function(
        lambda *tensors: function(tf.nest.pack_sequence_as(specs, tensors)),
        jit_compile=True,
    )
    compiled.get_concrete_function(*flat)  # errors in Python pass unchanged
    try:
        return compiled.experimental_get_compiler_ir(*flat)(stage="hlo_serialized")
    except (ValueError, tf.errors.OpError) as error:
        raise NotForXlaError(_sentence(str(error))) from None


def _sentence(error: str) -> str:
    """A sentence that names the operations of a lowering error, and their layers."""
    found = re.findall(r"(\S+) \(No registered .*?\{\{node ([^}]*)\}\}", error)
    if not found:
        return (
            error.removeprefix("Failed getting HLO text: '").splitlines()[0].strip(".")
        )
    places: dict[str, None] = {}  # an ordered set
    for kind, node in found:
        layer = node.removesuffix(kind).strip("/") or node
        places[f"{kind} in {layer!r}"] = None
    first = list(places)[:_MAX_NAMED]
    more = len(places) - len(first)
    return "TPUs cannot run " + ", ".join(first) + (f" and {more} more" if more else "")


def _video_shape(gan: video_gan.Networks) -> list[int]:
    size = gan.generator.resolution
    return [gan.generator.num_frames, size, size, 3]


def _metadata(gan: video_gan.Networks) -> dict:
    networks = [gan.generator, *gan.discriminators]
    return {
        "video": _video_shape(gan),
        "parameters": {n.name: n.count_params() for n in networks},
    }


def _num_bytes(variables: Sequence[tf.Variable]) -> int:
    return sum(v.shape.num_elements() * v.dtype.size for v in variables)


@contextlib.contextmanager
def _values_do_not_matter() -> Iterator[None]:
    """Makes orthogonal kernels zeros, and builds networks without running them.

    At full width the decompositions for orthogonal kernels take minutes on a CPU.
    """
    initializer, gan = tf.keras.initializers.Orthogonal, video_gan.Networks
    orthogonal, build = initializer.__call__, gan.build

    def zeros(self, shape, dtype=None, **kwargs):
        del self, kwargs
        return tf.zeros(shape, dtype or tf.float32)

    def trace(self):
        tf.function(lambda: build(self), autograph=False).get_concrete_function()

    initializer.__call__, gan.build = zeros, trace  # type: ignore[method-assign]
    try:
        yield
    finally:
        initializer.__call__, gan.build = orthogonal, build  # type: ignore[method-assign]


def _release(variables: Iterable[tf.Variable]) -> None:
    """Frees the memory of all values for the compiler.

    The empty tensors that replace them are never touched, so the system allocates no
    memory for them.
    """
    for variable in variables:
        empty = tf.raw_ops.Empty(shape=variable.shape, dtype=variable.dtype)
        variable.assign(empty)


def build(part: str, class_names: Sequence[str]) -> TrainingStep | Generation:
    """Creates a program's model from the config.

    Args:
      part: "step" or "generate".
      class_names: of the data.

    Returns:
      The program, with all variables.

    Raises:
      UserError: the config is invalid.
    """
    try:
        return TrainingStep(class_names) if part == "step" else Generation(class_names)
    except (ValueError, TypeError) as error:
        reason = _reason(str(error)).rstrip(".")
        raise errors.UserError(
            f"The config defines no valid model: {reason}."
        ) from None


def _reason(error: str) -> str:
    """An error's message without Keras's context: layer, traceback, arguments."""
    inner = re.findall(r"^\s*\w+Error: (.+)$", error, re.MULTILINE)
    if inner:
        return inner[-1]
    first, *rest = [line for line in error.splitlines() if line.strip()]
    return rest[0] if rest and first.startswith("Exception encountered") else first
