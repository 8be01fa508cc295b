"""What this machine computes with: its processor, cores and instruction sets."""

import os
import platform
import statistics
import time

_CPUINFO = "/proc/cpuinfo"
_MATRIX = 2048


def processor() -> str:
    """The processor's name, as the system has it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def instruction_sets() -> str:
    """The vector instructions that decide speed: "AVX2", "AVX-512 with bfloat16", ...

    "unknown" where the system does not list them. Where the environment limits oneDNN
    to fewer (ONEDNN_MAX_CPU_ISA), those.
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
    """Whether the processor multiplies bfloat16; elsewhere it takes minutes a step."""
    return "bfloat16" in instruction_sets()


def matrix_rate(dtype: str = "float32") -> float:
    """GFLOP/s of a large matrix product, the most that the machine does; takes 1 s.

    Args:
      dtype: of the matrices.
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
    """All of it in a line."""
    return f"{processor()}, {num_cores()} cores, {instruction_sets()}"


def _cpuinfo(key: str) -> str:
    """What /proc/cpuinfo has under a key for the first core; else nothing."""
    try:
        with open(_CPUINFO) as file:
            lines = (line.partition(":") for line in file)
            return next(value.strip() for k, _, value in lines if k.strip() == key)
    except (OSError, StopIteration):
        return ""
