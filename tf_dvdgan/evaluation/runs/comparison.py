"""Generated clips in files against real clips: a score and its metadata."""

import dataclasses
from collections.abc import Sequence

from tf_dvdgan import errors
from tf_dvdgan.data import clips, windows
from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.evaluation.features import sources
from tf_dvdgan.evaluation.runs import comparability, protocols, scoring


@dataclasses.dataclass(frozen=True)
class Result:
    """A score and what it must be published with.

    Attributes:
      score: its value, and how certain it is.
      metadata: protocol, weights, clips of both sides; only JSON's types.
      warnings: why it may not compare with other scores, a sentence each.
    """

    score: scoring.Score
    metadata: dict
    warnings: list[str]


def window_of(
    protocol: protocols.Protocol,
    num_frames: int | None,
    stride: int | None,
    resolution: int | None,
) -> windows.Window:
    """The window of each real clip.

    Args:
      protocol: its number of frames and stride come first.
      num_frames: of a model's videos, or as the user says.
      stride: between frames, likewise.
      resolution: of a model's videos; None for that of the files.

    Returns:
      The window.

    Raises:
      UserError: nothing fixes the number of frames.
    """
    if protocol.num_frames is None and num_frames is None:
        raise errors.UserError(
            f"{protocol.name} fixes no number of frames; give it with --num_frames."
        )
    return windows.Window(
        protocol.num_frames or num_frames, resolution, protocol.stride or stride or 1
    )


def real_clips(
    protocol: protocols.Protocol,
    place: str,
    split: str | None = None,
    held_out: str | None = None,
    held_out_split: str | None = None,
    classes: Sequence[str] = (),
) -> tuple[clips.ClipSource, clips.ClipSource | None]:
    """Opens the real clips of a protocol, and held-out ones if those are trained on.

    Args:
      protocol: says which split.
      place: folder of videos, or of prepared shards.
      split: of shards, instead of the protocol's.
      held_out: another folder, of clips that are not trained on.
      held_out_split: of shards; by default 'test', or 'validation'.
      classes: of shards, only these.

    Returns:
      The real clips, and the held-out ones or None.

    Raises:
      UserError: a folder or a split does not exist.
    """

    def held_split(path: str) -> str | None:
        return held_out_split or manifest_lib.load(path).held_out_split

    others = None
    if clips.is_prepared(place):
        held = held_split(place)
        if split is None:
            split = "train" if protocol.split == "train" else held or "train"
        if split == "train" and held:
            others = clips.open_clips(place, held, classes)
    real = clips.open_clips(place, split, classes)
    if held_out:
        other_split = None
        if clips.is_prepared(held_out):
            other_split = held_split(held_out)
            if other_split is None:
                raise errors.UserError(
                    f"{held_out} has no split that is held out; name it with "
                    "--held_out_split."
                )
        others = clips.open_clips(held_out, other_split, classes)
    return real, others


def compare_folders(
    metric: scoring.FeatureMetric,
    real: clips.ClipSource,
    generated: clips.ClipSource,
    held_out: clips.ClipSource | None,
    window: windows.Window,
    num_resamples: int,
) -> Result:
    """Scores generated clips that lie in files.

    Args:
      metric: extracts their features.
      real: clips to compare with.
      generated: the first are taken, as many as the protocol says.
      held_out: real clips that the generator has not seen, if it has seen `real`.
      window: of real clips; generated ones already have only the frames that count.
      num_resamples: of the bootstrap; 0 skips it.

    Returns:
      The score.

    Raises:
      UserError: classes are compared, and the clips have other ones.
    """
    protocol = metric.protocol
    every_frame = dataclasses.replace(window, stride=1)
    class_names = metric.class_names or real.class_names
    sides = {"generated": generated}
    if metric.needs_real:
        sides |= {"real": real} | ({"held-out": held_out} if held_out else {})
    limits = {"real": protocol.num_real, "generated": protocol.num_generated}
    selected = {}
    for side, source in sides.items():
        check_classes(protocol, source, class_names)
        selected[side] = sources.ClipSelection(
            source,
            every_frame if side == "generated" else window,
            limits.get(side),
            class_names,
        )
    features = {
        side: metric.extract_features(selection, f"{side} clips")
        for side, selection in selected.items()
    }
    score = metric.score(
        features.get("real"),
        [features["generated"]],
        features.get("held-out"),
        num_resamples,
    )
    metadata = metric.metadata | window_metadata(window)
    metadata |= {side: source.describe() for side, source in sides.items()}
    metadata |= {f"num_{side}": s.num_clips for side, s in selected.items()}
    if metric.needs_real:
        compared = (selected[side] for side in ("real", "generated"))
        found = comparability.warnings(*compared, metric.covariance_size)
    else:
        found = list(comparability.warnings_of("generated", selected["generated"]))
    return Result(score, metadata, found)


def check_classes(
    protocol: protocols.Protocol, source: clips.ClipSource, class_names: Sequence[str]
) -> None:
    """Refuses unknown classes where a score compares classes.

    Args:
      protocol: says whether it does.
      source: whose classes are checked.
      class_names: the known ones.

    Raises:
      UserError: a class is unknown, or there is only one.
    """
    if protocol.metric != protocols.ACCURACY and not protocol.is_s3:
        return
    if len(class_names) < 2:
        raise errors.UserError(f"{protocol.name} compares classes; here are none.")
    for name in source.class_names:
        if name not in class_names:
            raise errors.UserError(
                f"{protocol.name} compares classes, and {source.path} has one that the "
                f"others have not, {name!r}." + errors.did_you_mean(name, class_names)
            )


def window_metadata(window: windows.Window) -> dict:
    """What the protocol may leave open: number of frames, stride, resolution."""
    return {
        "num_frames": window.num_frames,
        "stride": window.stride,
        "resolution": window.resolution,
    }
