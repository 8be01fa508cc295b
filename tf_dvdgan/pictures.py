"""Files of generated videos: samples, predictions, interpolations, with metadata.

The functions behind `tools.sample`, `tools.predict`, `tools.interpolate` and
`tools.units`. Every file carries what it was made of (model, weights, seed, class,
truncation) as JSON: PNG's text, GIF's comment, MP4's comment and description.
"""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from tf_dvdgan import errors, generators, visualize
from tf_dvdgan.data import clip_files, clips, files
from tf_dvdgan.evaluation.features import sources
from tf_dvdgan.models import vgan
from tf_dvdgan.sampling import latents
from tf_dvdgan.sampling import sampler as sampler_lib

PANELS = {"first_frames": visualize.first_frames, "raster": visualize.raster}


@dataclasses.dataclass(frozen=True)
class Style:
    """How videos are written.

    Attributes:
      output: folder to write to.
      suffix: format, 'gif', 'mp4' or 'png'.
      fps: frames per second.
    """

    output: str
    suffix: str = "gif"
    fps: float = 8.0


@dataclasses.dataclass(frozen=True)
class Samples:
    """What is sampled.

    Attributes:
      count: number of latents.
      class_name: name or number of the class; None takes all in turn.
      truncations: factors of the latents; several are shown side by side.
      seed: of the latents.
      data_dir: shards whose clips a model that starts from frames continues, or that an
        autoencoder's samples resemble; None takes the frames that the run kept.
    """

    count: int = 16
    class_name: str | None = None
    truncations: Sequence[float] = (1.0,)
    seed: int = 0
    data_dir: str | None = None


@dataclasses.dataclass(frozen=True)
class _Column:
    """Videos of all latents that differ from other columns' in one thing.

    Attributes:
      name: of that thing, for people.
      stem: the same, for names of files.
      videos: `[count, time, height, width, 3]` uint8.
      metadata: for the files.
    """

    name: str
    stem: str
    videos: np.ndarray
    metadata: dict


def write_samples(
    generator: generators.Generator,
    samples: Samples,
    style: Style,
    *,
    beside: Sequence[generators.Generator] = (),
    streams: bool = False,
    panel: str | None = None,
) -> str:
    """Writes a file for each video, and a grid of all.

    Args:
      generator: makes them.
      samples: what is sampled.
      style: how files are written.
      beside: other models, whose videos of the same latents stand beside (paper 003,
        figures 1 and 13).
      streams: whether VGAN's streams and mask are shown (004, figure 3).
      panel: writes one picture instead: 'first_frames' (001, figures 4 and 10 to 14) or
        'raster', all frames of each video (001, figure 5).

    Returns:
      The path of the grid or panel.

    Raises:
      UserError: several kinds of picture are requested at once, or the model cannot
        make them.
    """
    kinds = {
        "several truncations": len(samples.truncations) > 1,
        "beside": bool(beside),
        "streams": streams,
        "panel": panel is not None,
    }
    requested = [kind for kind, is_requested in kinds.items() if is_requested]
    if len(requested) > 1:
        raise errors.UserError(
            f"{' and '.join(requested)} are different pictures; ask for one at a time."
        )
    labels = _labels(generator, samples)
    columns = _columns(generator, samples, labels, beside, streams)
    shown = visualize.match_sizes([column.videos for column in columns])
    videos = np.stack(shown, axis=1).reshape(-1, *shown[0].shape[1:])
    names = generator.class_names
    metadata = [
        {"seed": samples.seed, "class": names[label], "index": i} | column.metadata
        for i, label in enumerate(labels)
        for column in columns
    ]
    if panel:
        picture = PANELS[panel](videos)[np.newaxis]
        return visualize.write_video(
            style.output, f"{panel}.png", picture, 1, metadata[0]
        )
    several = len(columns) > 1
    stems = [
        _stem(known, column.stem if several else "")
        for known, column in zip(metadata, columns * samples.count, strict=True)
    ]
    return visualize.write(
        style.output,
        videos,
        stems,
        style.suffix,
        style.fps,
        metadata,
        [known["class"] for known in metadata],
        [column.name for column in columns] if several else (),
    )


def _labels(generator: generators.Generator, samples: Samples) -> list[int]:
    count, names = samples.count, generator.class_names
    if samples.class_name is not None:
        return [generator.label_of(samples.class_name)] * count
    if count > len(names):
        return [i * len(names) // count for i in range(count)]
    return [*range(count)]


def _columns(
    generator: generators.Generator,
    samples: Samples,
    labels: list[int],
    beside: Sequence[generators.Generator],
    streams: bool,
) -> list[_Column]:
    if generator.is_autoencoder and isinstance(generator, generators.RunGenerator):
        return [_of_autoencoder(generator, samples, bool(beside) or streams)]
    if streams:
        return _streams(generator, samples, labels)
    if not beside:
        return [
            _Column(
                f"truncation {t:g}",
                f"{t:g}",
                _videos(generator, samples, labels, t),
                generator.metadata | {"truncation": t},
            )
            for t in samples.truncations
        ]
    names, t = [generator.class_names[label] for label in labels], 1.0
    if len(samples.truncations) == 1:
        t = samples.truncations[0]
    columns = []
    for other in [generator, *beside]:
        theirs = [other.label_of(name) for name in names]
        name = os.path.basename(files.absolute(other.place).rstrip("/"))
        metadata = other.metadata | {"truncation": t, "run": name}
        videos = _videos(other, samples, theirs, t)
        columns.append(_Column(name, name, videos, metadata))
    return columns


def _videos(
    generator: generators.Generator, samples: Samples, labels: list[int], t: float
) -> np.ndarray:
    generator.check_makes_videos()
    z = latents.draw(generator.latent, samples.count, samples.seed)
    return generator.videos(z, labels, t, _frames(generator, samples))


def _streams(
    generator: generators.Generator, samples: Samples, labels: list[int]
) -> list[_Column]:
    if not isinstance(generator, generators.RunGenerator):
        raise errors.UserError(
            "A SavedModel makes only whole videos: streams are of a run, --model_dir."
        )
    generator.check_makes_videos()
    (t,) = samples.truncations
    z = latents.draw(generator.latent, samples.count, samples.seed)
    frames = _frames(generator, samples)
    parts = generator.sampler.sample(z, labels, t, frames)
    if len(parts) == 1:
        raise errors.UserError(
            f"{generator.name} has no streams: they are of VGAN with two of them."
        )
    metadata = generator.metadata | {"truncation": t}
    return [
        _Column(part, part, made, metadata | {"part": part})
        for part, made in parts.items()
    ]


def _of_autoencoder(
    generator: generators.RunGenerator, samples: Samples, others: bool
) -> _Column:
    """Samples of codes like those of its frames, kept or read."""
    if [*samples.truncations] != [1.0]:
        raise errors.UserError("An autoencoder's samples have no truncation.")
    if others:
        raise errors.UserError("--beside and --streams are not for autoencoders.")
    frames = _frames(generator, samples, all_clips=True)
    if frames is not None:
        generator.gan.frame_bank = frames
    videos, components = generator.sampler.from_mixture(samples.count, samples.seed)
    print(f"Codes drawn from a mixture of {components} components")
    return _Column("", "", videos, generator.metadata | {"truncation": 1.0})


def _frames(
    generator: generators.Generator, samples: Samples, all_clips: bool = False
) -> np.ndarray | None:
    """First frames of the shards' clips, in turn; None without shards."""
    if not samples.data_dir:
        return None
    count = generator.num_conditioning_frames
    if not count:
        raise errors.UserError("The model starts from no frames; omit --data_dir.")
    selection = _training_clips(
        generator, samples.data_dir, None if all_clips else samples.count
    )
    frames = selection.first_frames(count, selection.num_clips)
    return frames if all_clips else sampler_lib.in_turn(frames, samples.count)


def _training_clips(
    generator: generators.Generator, data_dir: str, at_most: int | None
) -> sources.ClipSelection:
    source = clips.ShardSource(data_dir, "train", generator.window.classes)
    return sources.ClipSelection(source, generator.window, at_most)


def _stem(known: dict, column: str) -> str:
    stem = f"{known['index']:04}_{files.safe_name(known['class'])[:50]}"
    return f"{stem}_{files.safe_name(column)[:50]}" if column else stem


def write_predictions(
    generator: generators.Generator,
    video: str,
    style: Style,
    *,
    count: int = 4,
    start_frame: int = 0,
    truncation: float = 1.0,
    seed: int = 0,
) -> str:
    """Continues a video file: one file for each sample, and a grid.

    Args:
      generator: a prediction model.
      video: file to continue; it is resized and cropped as in evaluation.
      style: how files are written.
      count: samples.
      start_frame: first frame that is taken; further ones at the model's stride.
      truncation: factor of the latents.
      seed: of the latents.

    Returns:
      The path of the grid.

    Raises:
      UserError: the model does not start from frames, or the video is too short.
    """
    given = generator.num_conditioning_frames
    if not given:
        raise errors.UserError(
            f"The model in {generator.place!r} does not start from frames; "
            "python -m tools.sample makes videos with it."
        )
    frames = clip_files.read_frames(
        video, given, generator.stride, start_frame, generator.resolution
    )
    z = latents.draw(generator.latent, count, seed)
    starts = np.repeat(frames[np.newaxis], count, axis=0)
    videos = generator.videos(z, [0] * count, truncation, starts)
    known = generator.metadata | {
        "video": os.path.basename(video),
        "start_frame": start_frame,
        "truncation": truncation,
        "seed": seed,
    }
    metadata = [known | {"index": i} for i in range(count)]
    stems = [f"{i:04}" for i in range(count)]
    return visualize.write(
        style.output, videos, stems, style.suffix, style.fps, metadata
    )


@dataclasses.dataclass(frozen=True)
class Interpolation:
    """What changes along a row.

    Attributes:
      between: 'latents', 'classes' or 'both'.
      resample: subspaces of MVT-GAN's latent, 'A' to 'C'; each is drawn again in a row,
        instead of an interpolation (paper 003, figure 12).
      classes: names or numbers: the class, or the two to go between; by default the
        first ones.
      num_rows: interpolations.
      num_steps: videos in each.
      truncation: factor of the latents.
      seed: of the latents.
    """

    between: str = "latents"
    resample: Sequence[str] = ()
    classes: Sequence[str] | None = None
    num_rows: int = 1
    num_steps: int = 8
    truncation: float = 1.0
    seed: int = 0


def write_interpolation(
    generator: generators.Generator, interpolation: Interpolation, style: Style
) -> str:
    """Writes interpolations between latents or classes, or resampled subspaces.

    As PNG each video is a column and time runs down; as GIF and MP4 each row moves
    (paper 001, figures 15 and 16; 003, figures 8 to 12).

    Args:
      generator: makes the videos.
      interpolation: what changes along a row.
      style: how the file is written.

    Returns:
      Its path.

    Raises:
      UserError: the model starts from frames, or lacks the classes or subspaces.
    """
    if generator.num_conditioning_frames:
        raise errors.UserError(
            f"{generator.name} starts from frames; python -m tools.predict continues a "
            "video with it."
        )
    labels = _end_labels(generator, interpolation)
    make = _resampled if interpolation.resample else _interpolated
    z, weights, captions = (
        np.concatenate(part) for part in make(generator, interpolation, labels)
    )
    videos = generator.videos(z, weights, interpolation.truncation)
    if style.suffix == "png":
        frames = visualize.columns(videos, captions, interpolation.num_steps)[None]
    else:
        videos = visualize.add_captions(videos, captions)
        frames = visualize.grid(videos, interpolation.num_steps)
    changes, name = {"between": interpolation.between}, "interpolation"
    if interpolation.resample:
        changes, name = {"resample": [*interpolation.resample]}, "resampled"
    metadata = generator.metadata | changes
    metadata |= {
        "classes": [generator.class_names[label] for label in labels],
        "truncation": interpolation.truncation,
        "seed": interpolation.seed,
        "num_rows": interpolation.num_rows,
        "num_steps": interpolation.num_steps,
    }
    return visualize.write_video(
        style.output, f"{name}.{style.suffix}", frames, style.fps, metadata
    )


def _end_labels(
    generator: generators.Generator, interpolation: Interpolation
) -> list[int]:
    """Numbers of the class, or of the two classes, that are shown."""
    needed = 2 if interpolation.between != "latents" else 1
    if needed > len(generator.class_names):
        raise errors.UserError(
            f"{generator.name} has no classes to go between; --between=latents."
        )
    if interpolation.classes is None:
        return list(range(needed))
    if len(interpolation.classes) != needed:
        raise errors.UserError(
            f"--classes names {needed} here, with a comma between two; there are "
            f"{len(interpolation.classes)}."
        )
    return [generator.label_of(name) for name in interpolation.classes]


def _interpolated(
    generator: generators.Generator, interpolation: Interpolation, labels: list[int]
) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
    """Latents, class weights and captions of each row, from one end to the other."""
    rows, steps = interpolation.num_rows, interpolation.num_steps
    z = latents.draw(generator.latent, 2 * rows, interpolation.seed).numpy()
    start, end = z[0::2], z[1::2]
    if interpolation.between == "classes":
        end = start
    z = latents.interpolate(start, end, steps)
    one_hot = np.eye(len(generator.class_names), dtype=np.float32)
    ends = one_hot[labels[:1]], one_hot[labels[-1:]]
    weights = np.repeat(latents.interpolate(*ends, steps), rows, axis=0)
    names = [generator.class_names[label] for label in labels]
    shares = [f"{i / (steps - 1):.2f}" for i in range(steps)]
    captions = [names[0], *shares[1:-1], names[-1]]
    return z, weights, [captions] * rows


def _resampled(
    generator: generators.Generator, interpolation: Interpolation, labels: list[int]
) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
    """As `_interpolated`: each row a sample and others that differ in one subspace."""
    subspaces = latents.subspaces(generator.latent)
    if not subspaces:
        raise errors.UserError(
            f"The latent of {generator.name} has no subspaces; --resample is for "
            "models like MVT-GAN."
        )
    for name in interpolation.resample:
        if name not in subspaces:
            raise errors.UserError(
                f"The latent has no subspace {name!r}; it has {', '.join(subspaces)}."
            )
    rows, steps = interpolation.num_rows, interpolation.num_steps
    z = latents.draw(generator.latent, rows * steps, interpolation.seed).numpy()
    z = z.reshape(rows, steps, -1)
    made = [
        latents.resample(z[:, 0], z[:, 1:], subspaces[name])
        for name in interpolation.resample
    ]  # of each subspace `[rows, steps, size]`
    one_hot = np.eye(len(generator.class_names), dtype=np.float32)
    weights = np.tile(one_hot[labels[0]], [rows * len(made), steps, 1])
    original = generator.class_names[labels[0]]
    captions = [
        [original] + [f"new {name}"] * (steps - 1) for name in interpolation.resample
    ]
    return np.stack(made, axis=1).reshape(-1, *z.shape[1:]), weights, captions * rows


def write_units(
    generator: generators.RunGenerator,
    data_dir: str,
    style: Style,
    *,
    layer: int = 4,
    units: Sequence[str] = (),
    num_units: int = 8,
    num_frames: int = 8,
    num_clips: int = 2000,
) -> str:
    """Writes what hidden units of VGAN's future predictor respond to (004, figure 6).

    Args:
      generator: of a run of `models/vgan_future.gin`.
      data_dir: shards of the clips whose first frames are used.
      style: where to write.
      layer: convolution, counted from 1 at the pixels.
      units: their numbers; by default the most selective ones.
      num_units: how many, by default.
      num_frames: shown of each unit.
      num_clips: used at most.

    Returns:
      The path of the picture.

    Raises:
      UserError: the model has no encoder of first frames, or no such layer or unit.
    """
    network = generator.gan.generator
    if not isinstance(network, vgan.FuturePredictor):
        raise errors.UserError(
            f"{generator.name} has no encoder of first frames: units are of runs of "
            "models/vgan_future.gin."
        )
    if layer > len(network.convolutions):
        raise errors.UserError(
            f"The network has {len(network.convolutions)} convolutions; see --layer."
        )
    selection = _training_clips(generator, data_dir, num_clips)
    frames = selection.first_frames(1, num_clips)[:, 0]
    active = generator.activations(frames, layer)
    count = active.shape[-1]
    if not all(unit.isdecimal() and int(unit) < count for unit in units):
        raise errors.UserError(f"--units are numbers from 0 to {count - 1}.")
    numbers = [int(unit) for unit in units]
    numbers = numbers or visualize.selective_units(active, num_units)
    picture = visualize.unit_grid(frames, active, numbers, num_frames)
    metadata = generator.metadata | {"layer": layer, "units": numbers}
    print(f"{len(numbers)} of {count} units on {len(frames)} frames")
    return visualize.write_video(style.output, "units.png", picture[None], 1, metadata)
