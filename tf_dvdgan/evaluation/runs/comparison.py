"""Compares generated clips in files with real clips: a score with metadata."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

from tf_dvdgan import errors
from tf_dvdgan.data import clips, windows
from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.evaluation.features import sources
from tf_dvdgan.evaluation.runs import (
    comparability,
    feature_metric,
    protocols,
    scoring,
)


@dataclasses.dataclass(frozen=True)
class Result:
    """A score with everything needed to compare it with others.

    Attributes:
      score: the score.
      metadata: protocol, weights and clips of both sides, as JSON types.
      warnings: sentences why the score may not be comparable with others.
      hashes: computes the SHA-256 of what was scored, by name: of clips, for which it
        reads all files, and of a model's weights.
      inputs: arguments that repeat the score, see `receipts`; set by `Scorer`.
    """

    score: scoring.Score
    metadata: dict
    warnings: list[str]
    hashes: Callable[[], dict[str, str]]
    inputs: dict = dataclasses.field(default_factory=dict)


def window_of(
    protocol: protocols.Protocol,
    num_frames: int | None,
    stride: int | None,
    resolution: int | None,
) -> windows.Window:
    """Returns the window of each real clip.

    Args:
      protocol: protocol, whose number of frames and stride take precedence.
      num_frames: number of frames of a model's videos, or the user's choice.
      stride: stride of a model, or the user's choice; 1 by default.
      resolution: resolution of a model's videos, or the user's choice; None for that of
        the files.

    Returns:
      The window.

    Raises:
      UserError: neither the protocol nor the caller sets the number of frames.
    """
    num_frames = protocol.num_frames or num_frames
    if num_frames is None:
        raise errors.UserError(
            f"{protocol.name} does not set the number of frames; set it with "
            "`num_frames`."
        )
    return windows.Window(num_frames, resolution, protocol.stride or stride or 1)


def real_clips(
    protocol_split: str,
    place: str,
    split: str | None = None,
    held_out: str | None = None,
    held_out_split: str | None = None,
    classes: Sequence[str] = (),
) -> tuple[clips.ClipSource, clips.ClipSource | None]:
    """Opens real clips, and held-out ones if the real clips are training clips.

    Args:
      protocol_split: split of the protocol.
      place: folder of videos, or of prepared shards.
      split: split of shards, instead of the protocol's.
      held_out: separate folder of held-out clips; not used if the real clips are held
        out themselves.
      held_out_split: held-out split of shards; by default 'test', or 'validation'.
      classes: the only classes of shards to use; empty for all.

    Returns:
      The real clips, and the held-out clips or None.

    Raises:
      UserError: a folder or a split does not exist.
    """

    def held_out_split_of(path: str) -> str | None:
        return held_out_split or manifest_lib.load(path).held_out_split

    held_out_clips, is_held_out = None, False
    if clips.is_prepared(place):
        other = held_out_split_of(place)
        if split is None:
            split = "train" if protocol_split == "train" else other or "train"
        if split == "train" and other:
            held_out_clips = clips.open_clips(place, other, classes)
        is_held_out = split == other and protocol_split != "train"
    real = clips.open_clips(place, split, classes)
    if held_out:
        other = None
        if clips.is_prepared(held_out):
            other = held_out_split_of(held_out)
            if other is None:
                raise errors.UserError(
                    f"{held_out} has no held-out split; name one with `held_out_split`."
                )
        held_out_clips = clips.open_clips(held_out, other, classes)
    return real, None if is_held_out else held_out_clips


def compare_folders(
    metric: feature_metric.FeatureMetric,
    real: clips.ClipSource,
    generated: clips.ClipSource,
    held_out: clips.ClipSource | None,
    window: windows.Window,
    num_resamples: int,
) -> Result:
    """Scores generated clips in files.

    Args:
      metric: the metric.
      real: real clips.
      generated: generated clips; the first ones are used, up to the protocol's number.
      held_out: real clips that the generator was not trained on, if it was trained on
        `real`; None otherwise.
      window: window of real clips; generated clips use its length with stride 1.
      num_resamples: number of bootstrap resamples; 0 skips the bootstrap.

    Returns:
      The score.

    Raises:
      UserError: the metric compares classes, and those of the clips do not match.
    """
    sides = {"generated": generated}
    if metric.needs_real:
        sides |= {"real": real} | ({"held-out": held_out} if held_out else {})
    class_names = metric.class_names or real.class_names
    selected = _select(metric.protocol, sides, window, class_names)
    features = {
        side: metric.extract_features(selection, f"{side} clips")
        for side, selection in selected.items()
    }
    compared = scoring.Sides(
        features.get("real"), [features["generated"]], features.get("held-out")
    )
    score = metric.score(compared, num_resamples)
    metadata = metric.metadata | window_metadata(window)
    metadata |= {side: source.describe() for side, source in sides.items()}
    metadata |= {f"num_{side}": s.num_clips for side, s in selected.items()}
    if metric.needs_real:
        found = comparability.warnings(
            selected["real"], selected["generated"], metric.covariance_size
        )
    else:
        found = list(comparability.warnings_of("generated", selected["generated"]))
    return Result(score, metadata, found, functools.partial(content_hashes, sides))


def _select(
    protocol: protocols.Protocol,
    sides: Mapping[str, clips.ClipSource],
    window: windows.Window,
    class_names: Sequence[str],
) -> dict[str, sources.ClipSelection]:
    """Selects the protocol's clips of each side; generated ones have stride 1."""
    selected = {}
    for side, source in sides.items():
        check_classes(protocol, source, class_names)
        own, at_most = window, protocol.num_real
        if side == "generated":
            own = dataclasses.replace(window, stride=1)
            at_most = protocol.num_generated
        selected[side] = sources.ClipSelection(source, own, at_most, class_names)
    return selected


def content_hashes(sides: Mapping[str, clips.ClipSource]) -> dict[str, str]:
    """Computes the hashes of clips for `Result`.

    Args:
      sides: clips by side: 'real', 'generated', 'held-out'.

    Returns:
      The SHA-256 of each side's clips.
    """
    return {f"{side} clips": source.content_hash for side, source in sides.items()}


def check_classes(
    protocol: protocols.Protocol, source: clips.ClipSource, class_names: Sequence[str]
) -> None:
    """Checks the classes of clips, for protocols that compare classes.

    Args:
      protocol: the protocol.
      source: clips whose classes are checked.
      class_names: names of all allowed classes.

    Raises:
      UserError: a class of the clips is not allowed, or there is only one class.
    """
    if protocol.metric != protocols.ACCURACY and not protocol.is_s3:
        return
    if len(class_names) < 2:
        raise errors.UserError(f"{protocol.name} compares classes; there are none.")
    for name in source.class_names:
        if name not in class_names:
            raise errors.UserError(
                f"{protocol.name} compares classes; {source.path} has {name!r}, which "
                "the others do not have." + errors.did_you_mean(name, class_names)
            )


def window_metadata(window: windows.Window) -> dict:
    """Returns the metadata of a window: number of frames, stride, resolution."""
    metadata = {
        "num_frames": window.num_frames,
        "stride": window.stride,
        "resolution": window.resolution,
    }
    if window.consecutive_if_short:
        metadata["consecutive_if_short"] = True
    return metadata
