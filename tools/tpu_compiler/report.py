"""The pre-flight's report of a program: an estimate of its speed, and a table."""

import dataclasses

from tf_dvdgan import terminal

from . import compilation, hardware

_GIB = hardware.GIB
ASSUMPTIONS = (
    "peak rates, memory and links as in Google Cloud's published TPU specifications",
    "gradients summed as float32 around a ring, over one link one way, behind the step",
    "the next batch is ready when a step needs it",
    "today's TPU compiler; the one in TensorFlow 2.15's TPU runtime is older",
)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Time of a step on a slice.

    Attributes:
      num_cores: of the slice.
      global_batch_size: videos on all cores.
      all_reduce_seconds: time to sum the gradients.
      step_seconds: range, from peak rates to cycle counts.
      clips_per_second: range; real clips, as training prints it, or generated videos.
    """

    num_cores: int
    global_batch_size: int
    all_reduce_seconds: float
    step_seconds: tuple[float, float]
    clips_per_second: tuple[float, float]


def estimate(
    costs: compilation.Costs,
    core: hardware.Core,
    num_cores: int,
    batch: int,
    gradient_bytes: int,
    batches_per_step: int,
) -> Estimate:
    """Estimates a step on a slice.

    Args:
      costs: of the program on one core.
      core: that it was compiled for.
      num_cores: of the slice.
      batch: videos per core.
      gradient_bytes: size of the gradients that the cores sum in a step.
      batches_per_step: number of batches per core in a step.

    Returns:
      Ranges of time and speed.
    """
    all_reduce = hardware.all_reduce_seconds(
        gradient_bytes, num_cores, core.link_bytes_per_second
    )
    fastest = costs.optimal_seconds or costs.roofline_seconds
    low = fastest + all_reduce
    high = max(fastest, costs.cycle_seconds) + all_reduce
    clips = num_cores * batch * batches_per_step
    return Estimate(
        num_cores,
        num_cores * batch,
        all_reduce,
        (low, high),
        (clips / high, clips / low),
    )


def table(
    title: str,
    compiled: compilation.Compilation,
    core: hardware.Core,
    estimated: Estimate,
) -> str:
    """Formats the figures of a program that compiles as a text table.

    Args:
      title: first line.
      compiled: with memory and costs.
      core: that it was compiled for.
      estimated: its speed on a slice.

    Returns:
      The title, then a row for each kind of figure.
    """
    assert compiled.memory and compiled.costs
    rows = [
        ("compiles", f"yes, in {terminal.duration(compiled.seconds)}"),
        ("memory", _memory(compiled.memory, core)),
        ("work", _work(compiled.costs)),
        ("time", _time(compiled.costs, core)),
        *(("", loop) for loop in _unknown_loops(compiled.costs)),
        ("slice", _slice(estimated)),
        *(("assumes" if not i else "", a) for i, a in enumerate(ASSUMPTIONS)),
    ]
    return "\n".join([title, *(f"  {name:<10}{text}" for name, text in rows)])


def _memory(memory: compilation.Memory, core: hardware.Core) -> str:
    kinds = ("arguments", "temporaries", "new_outputs", "code")
    parts = ", ".join(
        f"{kind.replace('_', ' ')} {getattr(memory, kind) / _GIB:.3g}" for kind in kinds
    )
    return (
        f"{memory.total / _GIB:.3g} GiB of the {core.available / _GIB:.2f} that a "
        f"program may use (core: {core.hbm / _GIB:.0f}): {parts}"
    )


def _work(costs: compilation.Costs) -> str:
    return (
        f"{costs.flops / 1e12:.3g} TFLOP, {costs.hbm_bytes / 1e9:.3g} GB to and from "
        "memory"
    )


def _time(costs: compilation.Costs, core: hardware.Core) -> str:
    if costs.optimal_seconds:
        best = f"{_seconds(costs.optimal_seconds)} by the compiler's estimate"
    else:
        best = f"{_seconds(costs.roofline_seconds)} by the roofline of each operation"
    bound = max(
        costs.flops / core.flops_per_second, costs.hbm_bytes / core.hbm_bytes_per_second
    )
    return (
        f"{best}, {_seconds(costs.cycle_seconds)} by the compiler's cycle counts; "
        f"roofline of the whole {_seconds(bound)}"
    )


def _unknown_loops(costs: compilation.Costs) -> list[str]:
    return [
        f"the loop {loop.name!r} is counted once: its number of iterations is unknown"
        for loop in costs.loops
        if loop.trips is None
    ]


def _slice(estimated: Estimate) -> str:
    slowest, fastest = estimated.clips_per_second
    return (
        f"{estimated.num_cores} cores, {estimated.global_batch_size} videos: "
        f"{_range(*estimated.step_seconds)}, including all-reduce "
        f"{_seconds(estimated.all_reduce_seconds)}; {slowest:,.0f} to {fastest:,.0f} "
        "clips/s"
    )


def _range(low: float, high: float) -> str:
    return f"{_seconds(low)} to {_seconds(high)}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
