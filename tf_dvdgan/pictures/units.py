"""What hidden units of VGAN's future predictor respond to."""

from collections.abc import Sequence

from tf_dvdgan import errors, generators, unit_grids, visualize
from tf_dvdgan.models import vgan
from tf_dvdgan.pictures import samples


def write_units(
    generator: generators.Generator,
    data_dir: str,
    style: visualize.Style,
    *,
    layer: int = 4,
    units: Sequence[str] = (),
    num_units: int = 8,
    num_frames: int = 8,
    num_clips: int = 2000,
) -> str:
    """Writes what hidden units of VGAN's future predictor respond to (004, figure 6).

    Args:
      generator: generator of a run of `models/vgan_future.gin`.
      data_dir: shards of the clips whose first frames are used.
      style: where to write the picture.
      layer: number of the convolution, counted from 1 at the pixels.
      units: numbers of the units; by default the most selective ones.
      num_units: number of units that are chosen by default.
      num_frames: number of frames shown for each unit.
      num_clips: maximum number of clips to use.

    Returns:
      The path of the picture.

    Raises:
      UserError: the model has no encoder of first frames, or no such layer or unit.
    """
    if not isinstance(generator, generators.RunGenerator) or not isinstance(
        generator.gan.generator, vgan.FuturePredictor
    ):
        raise errors.UserError(
            f"{generator.name} has no encoder of first frames: units need a run of "
            "models/vgan_future.gin."
        )
    num_layers = len(generator.gan.generator.convolutions)
    if layer > num_layers:
        raise errors.UserError(f"The network has only {num_layers} convolutions.")
    selection = samples.training_clips(generator, data_dir, num_clips)
    frames = selection.first_frames(1, num_clips)[:, 0]
    active = generator.activations(frames, layer)
    count = active.shape[-1]
    if not all(unit.isdecimal() and int(unit) < count for unit in units):
        raise errors.UserError(f"`units` are numbers from 0 to {count - 1}.")
    numbers = [int(unit) for unit in units]
    numbers = numbers or unit_grids.selective_units(active, num_units)
    picture = unit_grids.unit_grid(frames, active, numbers, num_frames)
    metadata = generator.metadata | {"layer": layer, "units": numbers}
    print(f"{len(numbers)} of {count} units on {len(frames)} frames")
    return visualize.write_video(style.output, "units.png", picture[None], 1, metadata)
