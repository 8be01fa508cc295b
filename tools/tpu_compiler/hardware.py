"""TPU cores, from Google Cloud's published system specifications.

A core here is one TensorFlow replica: half a chip of v3, a whole chip of v4 and v5p
(their two cores work as one, "megacore"), of v5e and of v6e.
"""

import dataclasses

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Core:
    """One core, and the link between chips.

    Attributes:
      topology: the smallest that the compiler accepts; programs are compiled for one
        of its cores.
      chip_config: the compiler's name for the cores of a chip; empty for its default.
      num_cores: of the smallest common slice.
      hbm: size of the core's HBM in bytes.
      available: bytes of it that a program may use.
      flops_per_second: peak of the matrix units in bfloat16.
      hbm_bytes_per_second: peak bandwidth.
      matrix_units: number of units of 128x128.
      link_bytes_per_second: of one link to a neighboring chip, in one direction.
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
        """Cycles per second, derived from the peak of the matrix units."""
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
    "v5p": Core(
        topology="v5p:2x2x1",
        chip_config="megacore",
        num_cores=4,
        hbm=96 * GIB,  # published as 95 GB; the compiler gives a program 95.74 GiB
        available=int(95.74 * GIB),
        flops_per_second=459e12,
        hbm_bytes_per_second=2765e9,
        matrix_units=8,
        link_bytes_per_second=100e9,
    ),
    "v6e": Core(
        topology="v6e:2x2",
        chip_config="",
        num_cores=4,
        hbm=32 * GIB,
        available=int(31.25 * GIB),
        flops_per_second=918e12,
        hbm_bytes_per_second=1638e9,
        # Published as 2 units of 256x256; the compiler's cycles for a product of 4096
        # rows fit the peak at 1.75 GHz, which is twice as many.
        matrix_units=16,
        link_bytes_per_second=100e9,
    ),
}


def all_reduce_seconds(num_bytes: float, num_cores: int, link: float) -> float:
    """Time of an all-reduce of gradients around a ring of cores.

    Each core sends and receives 2 (N - 1) / N of the bytes over one link.

    Args:
      num_bytes: size of one core's gradients.
      num_cores: N.
      link: bytes per second.

    Returns:
      Seconds.
    """
    return 2 * (num_cores - 1) / num_cores * num_bytes / link
