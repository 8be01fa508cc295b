"""Reasons why a score of two sets of clips may not compare with other scores."""

from collections.abc import Iterator

from tf_dvdgan import terminal
from tf_dvdgan.data import clips
from tf_dvdgan.evaluation.features import sources

_LOSSLESS = {"raw", "rawvideo", "png", "bmp", "ffv1", "huffyuv", "ffvhuff", "utvideo"}
_IMAGES = {"jpeg", "webp", "gif"}  # lossy, but each frame by itself


def warnings(
    real: sources.ClipSelection, generated: sources.ClipSelection, feature_size: int
) -> list[str]:
    """Says why a score of these may not compare with others.

    Call it when both sides have been read: only then are all short clips known.

    Args:
      real: real clips.
      generated: generated ones.
      feature_size: rows of the covariance that is compared; 0 for other metrics.

    Returns:
      A sentence for each reason.
    """
    found = []
    if real.num_clips != generated.num_clips:
        found.append(
            f"There are {real.num_clips} real clips and {generated.num_clips} "
            "generated ones; a score depends on how many there are."
        )
    for side, selection in (("real", real), ("generated", generated)):
        found += few(side, selection.num_clips, feature_size)
        found += warnings_of(side, selection)
    return [*found, *_differences(real.source, generated.source)]


def few(side: str, num_clips: int, feature_size: int) -> list[str]:
    """Says that the covariance of too few clips does not have full rank.

    Args:
      side: 'real' or 'generated'.
      num_clips: on that side.
      feature_size: rows of the covariance; 0 for other metrics.

    Returns:
      One sentence, or none.
    """
    if not feature_size or num_clips > feature_size:
        return []
    return [
        f"{num_clips} {side} clips are too few for the covariance of {feature_size} "
        f"features, which needs at least {feature_size + 1}, and many more to be "
        "stable."
    ]


def warnings_of(side: str, selection: sources.ClipSelection) -> Iterator[str]:
    """Says which clips of one side are too short or unreadable.

    Args:
      side: 'real', 'generated' or 'held-out'.
      selection: its clips.

    Yields:
      A sentence for each.
    """
    source, window = selection.source, selection.window
    short = source.short_clips(window)
    if short:
        yield (
            f"Some {side} clips ({short}) are shorter than the window of "
            f"{window.length}: their last frame is repeated."
        )
    if source.rejected:
        name, reason = source.rejected[0]
        yield (
            f"{len(source.rejected)} {side} clips cannot be read and are left out, "
            f"{terminal.printable(name)} among them ({reason})."
        )


def _differences(real: clips.ClipSource, generated: clips.ClipSource) -> Iterator[str]:
    codecs = [{clip.codec for clip in side.clip_info} for side in (real, generated)]
    lossy = [side - _LOSSLESS for side in codecs]
    if lossy[0] != lossy[1]:
        yield (
            f"The real clips are encoded by {_listed(codecs[0])}, the generated ones "
            f"by {_listed(codecs[1])}: what a lossy codec takes away counts as a "
            "difference, and re-encoding to mp4 shifts FVD."
        )
    elif lossy[0] - _IMAGES:
        yield (
            f"Both sides are encoded by {_listed(lossy[0])}: re-encoding to mp4 shifts "
            "FVD, so this compares with scores of files encoded alike."
        )
    rates = [
        {clip.fps for clip in side.clip_info} - {None} for side in (real, generated)
    ]
    if all(rates) and rates[0] != rates[1]:
        yield (
            f"The real clips have {_listed(rates[0])} frames per second, the generated "
            f"ones {_listed(rates[1])}; frames are taken by number, so the speed of "
            "motion differs."
        )
    sides = [
        {min(clip.height, clip.width) for clip in side.clip_info}
        for side in (real, generated)
    ]
    if sides[0] != sides[1]:
        yield (
            f"The smaller side of real frames is {_listed(sides[0])} pixels, of "
            f"generated ones {_listed(sides[1])}: resizing makes one of them blurred "
            "or sharp."
        )


def _listed(values: set) -> str:
    return ", ".join(map(str, sorted(values)))
