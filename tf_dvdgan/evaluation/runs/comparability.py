"""Warnings that a score of two sets of clips may not be comparable with others."""

import collections
from collections.abc import Iterator

from tf_dvdgan import terminal
from tf_dvdgan.data import clips, shard_source
from tf_dvdgan.evaluation.features import sources

_LOSSLESS = {"raw", "rawvideo", "png", "bmp", "ffv1", "huffyuv", "ffvhuff", "utvideo"}
_SHOWN_RATES = 6
_IMAGES = {"jpeg", "webp", "gif"}  # lossy, but each frame by itself


def warnings(
    real: sources.ClipSelection, generated: sources.ClipSelection, feature_size: int
) -> list[str]:
    """Returns the reasons why a score may not be comparable with others.

    Call it after both sides have been read: only then are all short clips known.

    Args:
      real: real clips.
      generated: generated clips.
      feature_size: rows of the covariance in a Fréchet distance; 0 for other metrics.

    Returns:
      A sentence for each reason.
    """
    found = []
    if real.num_clips != generated.num_clips:
        found.append(
            f"There are {real.num_clips} real clips and {generated.num_clips} "
            "generated ones; scores depend on these numbers."
        )
    for side, selection in (("real", real), ("generated", generated)):
        found += _few(side, selection.num_clips, feature_size)
        found += warnings_of(side, selection)
    found += _differences(real.source, generated.source)
    return [*found, *_other_sizes(real, generated)]


def warnings_of_model(
    real: sources.ClipSelection | None, num_generated: int, feature_size: int
) -> list[str]:
    """Returns the reasons why a model's score may not be comparable with others.

    Call it after the real clips have been read: only then are all short clips known.

    Args:
      real: real clips; None if the score does not compare with them.
      num_generated: number of the model's samples.
      feature_size: rows of the covariance in a Fréchet distance; 0 for other metrics.

    Returns:
      A sentence for each reason.
    """
    found = _few("generated", num_generated, feature_size)
    if real is not None:
        found += _few("real", real.num_clips, feature_size)
        found += warnings_of("real", real)
        found += _other_resolution(real)
    return found


def warnings_of(side: str, selection: sources.ClipSelection) -> Iterator[str]:
    """Warns of short and unreadable clips, and of several rates, on one side.

    Args:
      side: 'real', 'generated' or 'held-out'.
      selection: clips of that side.

    Yields:
      A sentence for each warning.
    """
    source, window = selection.source, selection.window
    short = source.short_clips(window)
    if short:
        yield (
            f"Some {side} clips ({short}) are shorter than the window of "
            f"{window.length} frames; their last frame is repeated."
        )
    if source.skipped:
        yield f"In the {side} folder: {source.skipped}."
    if len(source.rates) > 1:
        yield (
            f"Of {source.rates.total()} {side} clips examined, {_shown(source.rates)} "
            "frames per second; frames are chosen by number, so the same motion plays "
            "at different speeds. data_prep.prepare --fps resamples them."
        )
    if source.rejected:
        name, reason = source.rejected[0]
        yield (
            f"{len(source.rejected)} {side} clips cannot be read and are skipped, for "
            f"example {terminal.printable(name)} ({reason})."
        )


def _few(side: str, num_clips: int, feature_size: int) -> list[str]:
    """Warns of too few clips for a covariance of full rank, if there is one."""
    if not feature_size or num_clips > feature_size:
        return []
    return [
        f"{num_clips} {side} clips are too few for the covariance of {feature_size} "
        f"features, which needs at least {feature_size + 1}, and many more to be "
        "stable."
    ]


def _other_resolution(real: sources.ClipSelection) -> Iterator[str]:
    """Warns if real clips cannot be those that a model was trained on, by size.

    Larger videos may be: preparation makes shards of the model's resolution of them.
    """
    size, source = real.window.resolution, real.source
    if size is None:
        return
    sides = {min(frame) for frame in _sizes(source)}
    smallest = min(sides, default=size)
    is_of_shards = isinstance(source, shard_source.ShardSource)
    if smallest < size or (is_of_shards and smallest > size):
        yield (
            f"The smaller side of real frames is {_listed(sides)} pixels, the model's "
            f"videos have {size}: the score measures the resizing, too."
        )


def _differences(real: clips.ClipSource, generated: clips.ClipSource) -> Iterator[str]:
    codecs = [{clip.codec for clip in side.clip_info} for side in (real, generated)]
    lossy = [side - _LOSSLESS for side in codecs]
    if lossy[0] != lossy[1]:
        yield (
            f"The real clips are encoded by {_listed(codecs[0])}, the generated ones "
            f"by {_listed(codecs[1])}: artifacts of a lossy codec count as a "
            "difference, and re-encoding to mp4 shifts FVD."
        )
    elif lossy[0] - _IMAGES:
        yield (
            f"Both sides are encoded by {_listed(lossy[0])}: re-encoding to mp4 shifts "
            "FVD, so the score is comparable only with scores of the same encoding."
        )
    rates = [set(side.rates) for side in (real, generated)]
    if all(rates) and rates[0] != rates[1]:
        yield (
            f"Of the real clips, {_shown(real.rates)} frames per second, of the "
            f"generated ones {_shown(generated.rates)}; frames are chosen by number, "
            "so the speed of motion differs."
        )


def _other_sizes(
    real: sources.ClipSelection, generated: sources.ClipSelection
) -> Iterator[str]:
    """Warns if frames of one side are larger, or of another shape."""
    sizes = [_sizes(side.source) for side in (real, generated)]
    smaller = [{min(size) for size in of_side} for of_side in sizes]
    if smaller[0] != smaller[1]:
        yield (
            f"The smaller side of real frames is {_listed(smaller[0])} pixels, of "
            f"generated ones {_listed(smaller[1])}: resizing makes one of them "
            "blurrier than the other."
        )
    elif sizes[0] != sizes[1] and real.window.resolution is None:
        shown = (
            ", ".join(f"{width}x{height}" for height, width in sorted(of_side))
            for of_side in sizes
        )
        yield (
            f"The real frames are {next(shown)} pixels, the generated ones "
            f"{next(shown)}, and the network sees them whole, stretched to its shape: "
            "set `resolution` to cut squares of both."
        )


def _sizes(source: clips.ClipSource) -> set[tuple[int, int]]:
    """Height and width of the frames; of shards, of the crops that are read."""
    if isinstance(source, shard_source.ShardSource):
        return {(source.resolution, source.resolution)}
    return {(clip.height, clip.width) for clip in source.clip_info}


def _shown(rates: collections.Counter[float]) -> str:
    """The most frequent rates with their clips, such as "40 have 30, 1 has 15"."""
    parts = [
        f"{count} {'have' if count > 1 else 'has'} {rate:g}"
        for rate, count in rates.most_common(_SHOWN_RATES)
    ]
    others = rates.total() - sum(n for _, n in rates.most_common(_SHOWN_RATES))
    return ", ".join([*parts, f"{others} have others, in"] if others else parts)


def _listed(values: set) -> str:
    return ", ".join(map(str, sorted(values)))
