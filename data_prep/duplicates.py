"""Finds clips that are nearly the same, such as copies in another encoding.

Some frames of each clip are hashed by what their low frequencies look like: the 64
lowest coefficients of a 32x32 gray image's cosine transform, each above or below their
median. Clips are near-duplicates if all of these hashes differ in at most three bits.
Score and memorization of a model mean little if training clips are also held out.
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np

HASHED_FRAMES = (0, 8, 16)  # of a clip, if it has as many
_SIDE = 32
_LOW = 8
_MAX_BITS = 3
_WORDS = 4  # two hashes that differ in three bits agree in one of four words
_MAX_BUCKET = 1000  # clips with the same word; more are of no information


@dataclasses.dataclass(frozen=True)
class HashedClip:
    """A clip with the hashes of some of its frames.

    Attributes:
      name: name of the clip, unique in the data set.
      split: its split.
      hashes: of its frames `HASHED_FRAMES`, 64 bits each.
    """

    name: str
    split: str
    hashes: tuple[int, ...]


def hash_of(frame: np.ndarray) -> int:
    """Hashes a frame, `[height, width, 3]` uint8, to 64 bits."""
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:_LOW, :_LOW].ravel()
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def find(clips: Sequence[HashedClip]) -> list[tuple[HashedClip, HashedClip]]:
    """Finds near-duplicates.

    Args:
      clips: the clips, in any order.

    Returns:
      Pairs in the order of their names, each pair once.
    """
    buckets: dict[tuple[int, int], list[HashedClip]] = collections.defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.name):
        if clip.hashes:
            for word in range(_WORDS):
                buckets[word, clip.hashes[0] >> 16 * word & 0xFFFF].append(clip)
    pairs = {
        (first.name, second.name): (first, second)
        for bucket in buckets.values()
        if len(bucket) <= _MAX_BUCKET
        for first, second in itertools.combinations(bucket, 2)
        if _are_alike(first.hashes, second.hashes)
    }
    return [pairs[names] for names in sorted(pairs)]


def _are_alike(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    return len(first) == len(second) and all(
        (a ^ b).bit_count() <= _MAX_BITS for a, b in zip(first, second, strict=True)
    )


def to_drop(pairs: Sequence[tuple[HashedClip, HashedClip]]) -> dict[str, str]:
    """Chooses clips to drop so that no pair is left.

    Of two splits the training clip is dropped, of one split the later clip.

    Args:
      pairs: near-duplicates.

    Returns:
      The name of each clip to drop, with that of the clip that it is like.
    """
    dropped: dict[str, str] = {}
    for first, second in sorted(pairs, key=lambda pair: pair[0].split == pair[1].split):
        if first.name in dropped or second.name in dropped:
            continue
        if first.split == "train" != second.split:
            dropped[first.name] = second.name
        else:
            dropped[second.name] = first.name
    return dropped


def across_splits(
    pairs: Sequence[tuple[HashedClip, HashedClip]],
) -> Iterator[tuple[HashedClip, HashedClip]]:
    """The pairs whose clips are in two splits."""
    return (pair for pair in pairs if pair[0].split != pair[1].split)


def describe(pair: tuple[HashedClip, HashedClip]) -> Mapping[str, str]:
    """A pair as JSON types."""
    first, second = pair
    return {
        "clip": first.name,
        "split": first.split,
        "other": second.name,
        "other_split": second.split,
    }
