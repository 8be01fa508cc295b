"""This machine's processor, cores and instruction sets."""

import os
import platform
import statistics
import time

_CPUINFO = "/proc/cpuinfo"
_MATRIX = 2048


def processor() -> str:
    """The processor's name, as the system reports it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def num_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def instruction_sets() -> str:
    """The vector instructions that oneDNN can use: "AVX2", "AVX-512 with bfloat16", ...

    Respects the environment variable ONEDNN_MAX_CPU_ISA. "unknown" if the system does
    not list the processor's instructions.
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    flags = set(_cpuinfo("flags").split())
    if limit.startswith("AVX2") and "avx2" in flags:
        return "AVX2 (ONEDNN_MAX_CPU_ISA)"
    if "avx512f" in flags:
        has_bfloat16 = flags & {"avx512_bf16", "amx_bf16"}
        return "AVX-512 with bfloat16" if has_bfloat16 else "AVX-512"
    if "avx2" in flags:
        return "AVX2"
    return "no AVX2" if flags else "unknown"


def has_bfloat16() -> bool:
    """Whether the processor has bfloat16 instructions.

    Without them a training step in bfloat16 takes minutes.
    """
    return "bfloat16" in instruction_sets()


def matrix_rate(dtype: str = "float32") -> float:
    """Measures the GFLOP/s of a large matrix product, the peak rate in practice.

    Takes about 1 s.

    Args:
      dtype: of the matrices.

    Returns:
      The median of nine products.
    """
    import tensorflow as tf

    a = tf.cast(tf.random.stateless_normal([_MATRIX, _MATRIX], [0, 0]), dtype)
    multiply = tf.function(lambda a: tf.reduce_sum(a @ a))
    multiply(a).numpy()
    seconds = []
    for _ in range(9):
        began = time.perf_counter()
        multiply(a).numpy()
        seconds.append(time.perf_counter() - began)
    return 2 * _MATRIX**3 / statistics.median(seconds) / 1e9


def describe() -> str:
    """Processor, cores and instruction sets in one line."""
    return f"{processor()}, {num_cores()} cores, {instruction_sets()}"


def _cpuinfo(key: str) -> str:
    """The value of a key in /proc/cpuinfo for the first core, or an empty string."""
    try:
        with open(_CPUINFO) as file:
            lines = (line.partition(":") for line in file)
            return next(value.strip() for k, _, value in lines if k.strip() == key)
    except (OSError, StopIteration):
        return ""
