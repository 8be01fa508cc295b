"""Samples of a generator, with several truncations, models or streams side by side."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tf_dvdgan import errors, generators, visualize
from tf_dvdgan.data import clips, files
from tf_dvdgan.evaluation.features import sources
from tf_dvdgan.sampling import latents
from tf_dvdgan.sampling import sampler as sampler_lib

PANELS = {"first_frames": visualize.first_frames, "raster": visualize.raster}


@dataclasses.dataclass(frozen=True)
class Samples:
    """Which samples are generated.

    Attributes:
      count: number of latents.
      class_name: name or number of the class; None for all classes, in turn.
      truncations: factors of the latents; several are shown side by side.
      seed: seed of the latents.
      data_dir: shards of the clips that a prediction model continues, or that an
        autoencoder's samples resemble; None uses the run's frame bank.
    """

    count: int = 16
    class_name: str | None = None
    truncations: Sequence[float] = (1.0,)
    seed: int = 0
    data_dir: str | None = None


@dataclasses.dataclass(frozen=True)
class _Column:
    """A column of the grid: videos of all latents with one setting.

    Attributes:
      name: name of the setting, for captions.
      stem: name of the setting, for file names.
      videos: `[count, time, height, width, 3]` uint8.
      metadata: metadata of the files.
    """

    name: str
    stem: str
    videos: np.ndarray
    metadata: dict


def write_samples(
    generator: generators.Generator,
    samples: Samples,
    style: visualize.Style,
    *,
    beside: Sequence[generators.Generator] = (),
    streams: bool = False,
    panel: str | None = None,
) -> str:
    """Writes a file for each video, and a grid of all videos.

    Args:
      generator: generator of the videos.
      samples: which samples to generate.
      style: where and how to write the files.
      beside: generators whose videos are shown beside the first one's (paper 003,
        figures 1 and 13).
      streams: whether to show VGAN's streams and mask (004, figure 3).
      panel: writes one picture instead: 'first_frames' (001, figures 4 and 10 to 14) or
        'raster', all frames of each video (001, figure 5).

    Returns:
      The path of the grid or panel.

    Raises:
      UserError: several kinds of pictures are requested, or the model does not support
        the kind.
    """
    kinds = {
        "truncation": len(samples.truncations) > 1,
        "beside": bool(beside),
        "streams": streams,
        "panel": panel is not None,
    }
    requested = [f"`{kind}`" for kind, is_requested in kinds.items() if is_requested]
    if len(requested) > 1:
        raise errors.UserError(
            f"{' and '.join(requested)} cannot be combined; pass one of them."
        )
    labels = generator.labels_of(samples.count, samples.class_name)
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
        _stem(entry, column.stem if several else "")
        for entry, column in zip(metadata, columns * samples.count, strict=True)
    ]
    return visualize.write(
        style.output,
        videos,
        stems,
        style.suffix,
        style.fps,
        metadata,
        [entry["class"] for entry in metadata],
        [column.name for column in columns] if several else (),
    )


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
        name = files.base_name(files.absolute(other.place))
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
            "A SavedModel generates only whole videos: `streams` needs a run."
        )
    generator.check_makes_videos()
    (t,) = samples.truncations
    z = latents.draw(generator.latent, samples.count, samples.seed)
    frames = _frames(generator, samples)
    parts = generator.sampler.sample(z, labels, t, frames)
    if len(parts) == 1:
        raise errors.UserError(
            f"{generator.name} has no streams: `streams` needs a two-stream VGAN."
        )
    metadata = generator.metadata | {"truncation": t}
    return [
        _Column(part, part, videos, metadata | {"part": part})
        for part, videos in parts.items()
    ]


def _of_autoencoder(
    generator: generators.RunGenerator, samples: Samples, others: bool
) -> _Column:
    """Samples an autoencoder with codes like those of its frame bank or of clips."""
    if [*samples.truncations] != [1.0]:
        raise errors.UserError("An autoencoder's samples have no truncation.")
    if others:
        raise errors.UserError("Autoencoders do not support `beside` and `streams`.")
    frames = _frames(generator, samples, all_clips=True)
    if frames is not None:
        generator.gan.frame_bank = frames
    videos, components = generator.sampler.from_mixture(samples.count, samples.seed)
    print(f"Codes sampled from a mixture of {components} components")
    return _Column("", "", videos, generator.metadata | {"truncation": 1.0})


def _frames(
    generator: generators.Generator, samples: Samples, all_clips: bool = False
) -> np.ndarray | None:
    """Reads frames to start from, one set per sample; None without a `data_dir`."""
    if not samples.data_dir:
        return None
    count = generator.num_conditioning_frames
    if not count:
        raise errors.UserError("The model does not start from frames; omit `data_dir`.")
    selection = training_clips(
        generator, samples.data_dir, None if all_clips else samples.count
    )
    frames = selection.first_frames(count, selection.num_clips)
    return frames if all_clips else sampler_lib.in_turn(frames, samples.count)


def _stem(metadata: dict, column: str) -> str:
    stem = f"{metadata['index']:04}_{files.safe_name(metadata['class'])[:50]}"
    return f"{stem}_{files.safe_name(column)[:50]}" if column else stem


def training_clips(
    generator: generators.Generator, data_dir: str, at_most: int | None
) -> sources.ClipSelection:
    """Selects training clips of the model's classes, in its window.

    Args:
      generator: of the model.
      data_dir: folder of prepared shards.
      at_most: number of clips; None selects all.

    Returns:
      The selection.

    Raises:
      UserError: the shards lack a class, or have no training clips.
    """
    source = clips.ShardSource(data_dir, "train", generator.window.classes)
    return sources.ClipSelection(source, generator.window, at_most)
