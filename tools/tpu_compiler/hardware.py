"""TPU cores as Google Cloud's published system specifications have them.

A core is what TensorFlow calls a replica: half a chip of v3, a whole chip of v4 (both
its cores as one, "megacore") and of v5e.
"""

import dataclasses

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Core:
    """One core, and the link between chips.

    Attributes:
      topology: the smallest that the compiler takes; one of its cores is compiled for.
      chip_config: the compiler's name of how cores make up a chip; empty for its own.
      num_cores: of the smallest usual slice.
      hbm: bytes.
      available: bytes of it that the compiler leaves to a program.
      flops_per_second: peak of the matrix units, bfloat16.
      hbm_bytes_per_second: peak.
      matrix_units: 128x128 each.
      link_bytes_per_second: of one link to a neighbouring chip, one way.
    """

    topology: str
    chip_config: str
    num_cores: int
    hbm: int
    available: int
    flops_per_second: float
    hbm_bytes_per_second: float
    matrix_units: int
    link_bytes_per_second: float

    @property
    def clock(self) -> float:
        """Cycles a second: what the peak of the matrix units comes from."""
        return self.flops_per_second / (self.matrix_units * 128 * 128 * 2)


CORES = {
    "v3": Core(
        topology="v3:2x2",
        chip_config="",
        num_cores=8,
        hbm=16 * GIB,
        available=int(15.48 * GIB),
        flops_per_second=123e12 / 2,
        hbm_bytes_per_second=900e9 / 2,
        matrix_units=2,
        link_bytes_per_second=656e9 / 8,
    ),
    "v4": Core(
        topology="v4:2x2x1",
        chip_config="megacore",
        num_cores=4,
        hbm=32 * GIB,
        available=int(30.75 * GIB),
        flops_per_second=275e12,
        hbm_bytes_per_second=1200e9,
        matrix_units=8,
        link_bytes_per_second=50e9,
    ),
    "v5e": Core(
        topology="v5e:2x2",
        chip_config="",
        num_cores=4,
        hbm=16 * GIB,
        available=int(15.75 * GIB),
        flops_per_second=197e12,
        hbm_bytes_per_second=819e9,
        matrix_units=4,
        link_bytes_per_second=50e9,
    ),
}


def all_reduce_seconds(num_bytes: float, num_cores: int, link: float) -> float:
    """Time to sum gradients around a ring of cores.

    Each core sends and receives 2 (N - 1) / N of the bytes over one link.

    Args:
      num_bytes: of the gradients of one core.
      num_cores: N.
      link: bytes a second.
    """
    return 2 * (num_cores - 1) / num_cores * num_bytes / link
