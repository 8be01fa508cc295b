"""What kind of clip a file is, by its name and its first bytes.

Files of other kinds, beside clips, are not clips.
"""

import os
import re
from collections.abc import Iterator, Sequence

from tf_dvdgan.data import files, filesystem, frame_names

VIDEO_SUFFIXES = tuple(
    f".{suffix}"
    for suffix in (
        "3g2 3gp apng asf avi divx dv f4v flv gif h264 hevc ivf m1v m2t m2ts m2v m4v "
        "mjpeg mjpg mkv mov mp4 mpe mpeg mpg mts mxf nut obu ogm ogv qt ts vob "
        "webm wmv y4m 264 265"
    ).split()
)
ARRAY_SUFFIX = ".npy"
_MAYBE_ANIMATED = (".png", ".webp")
# Images and audio beside clips, some of which are in the containers of videos.
_SIDE_SUFFIXES = tuple(
    f".{suffix}"
    for suffix in (
        "avif avifs arw bpg cr2 cr3 dng exr heic heics heif heifs hif ico j2k jfif jp2 "
        "jxl nef orf psd raw rw2 svg tga tif tiff "
        "aa aac aax ac3 aif aiff alac amr ape caf dts eac3 f4a f4b flac m4a m4b m4p "
        "m4r mka mp2 mp3 oga ogg opus ra snd spx tta wav wma wv"
    ).split()
)
# How containers begin, and at which byte; for files whose names do not say what they
# are.
_BEGINNINGS = (
    (0, b"\x1a\x45\xdf\xa3"),
    (0, b"GIF8"),
    (0, b"OggS"),
    (0, b"FLV\x01"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    (0, b"\x00\x00\x01\xba"),
    (4, b"ftyp"),
    (8, b"AVI "),
)
# Brands of images and of audio, at byte 8 of a file with 'ftyp'.
_OTHER_BRANDS = tuple(
    brand.encode().ljust(4)
    for brand in (
        "heic heix heim heis hevc hevx mif1 mif2 msf1 miaf avif avis crx "
        "M4A M4B M4P F4A F4B"
    ).split()
)


def by_kind(place: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Sorts the files of a folder by kind.

    Args:
      place: the folder.
      names: names of its files.

    Returns:
      Names of 'video', 'array', 'strip' (frames side by side) and 'image' files; others
      are in none of these.
    """
    kinds: dict[str, list[str]] = {
        kind: [] for kind in ("video", "array", "image", "strip")
    }
    images = []
    for name in names:
        path = os.path.join(place, name)
        suffix = os.path.splitext(name)[1].lower()
        if suffix in VIDEO_SUFFIXES:
            kinds["video"].append(name)
        elif suffix == ARRAY_SUFFIX:
            kinds["array"].append(name)
        elif suffix in frame_names.IMAGE_SUFFIXES:
            images.append(name)
        elif suffix not in _SIDE_SUFFIXES and _begins_as_video(path):
            kinds["video"].append(name)
    for name, kind in _kinds_of_images(place, images):
        kinds[kind].append(name)
    return kinds


def _kinds_of_images(place: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each image with its kind.

    Looking into a remote image is a request, so a still one there says that the
    following ones of its suffix are still, too.
    """
    still = set()
    for name in names:
        suffix = os.path.splitext(name)[1].lower()
        kind = "image"
        if suffix in _MAYBE_ANIMATED and suffix not in still:
            kind = _kind_of_image(os.path.join(place, name))
            if kind == "image" and files.is_remote(place):
                still.add(suffix)
        yield name, kind


def _beginning(path: str, size: int) -> bytes:
    """The first bytes of a file; none if it cannot be read."""
    if not files.is_remote(path) and not os.path.isfile(path):
        return b""  # opening a pipe would wait
    try:
        return filesystem.read_bytes(path, size)
    except OSError:
        return b""


def _begins_as_video(path: str) -> bool:
    if files.is_remote(path):  # it would be a request for each
        return False
    data = _beginning(path, 12)
    if data[4:8] == b"ftyp" and data[8:] in _OTHER_BRANDS:
        return False
    return any(data[at:].startswith(mark) for at, mark in _BEGINNINGS)


def _kind_of_image(path: str) -> str:
    """'video' if it is an animation, 'strip', or 'image'."""
    head = _head_of_image(path)
    is_webp = head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & 2)
    if is_webp or (head[1:4] == b"PNG" and b"acTL" in head):
        return "video"
    return "strip" if _strip_frames(head) else "image"


def _head_of_image(path: str) -> bytes:
    """What is before the pixels of a PNG; the first bytes of others."""
    head = _beginning(path, 4096)
    if head[1:4] == b"PNG" and b"IDAT" not in head:
        head = _beginning(path, 2**16)
    return head.partition(b"IDAT")[0]


def frames_of_strip(path: str) -> int:
    """Number of frames in a strip; 0 if the image is none, see `visualize`."""
    return _strip_frames(_head_of_image(path))


def _strip_frames(head: bytes) -> int:
    found = re.search(rb'"strip_frames": ([0-9]{1,5})', head)
    return int(found[1]) if found else 0
