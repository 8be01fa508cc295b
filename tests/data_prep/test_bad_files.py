"""Files as they lie on people's disks: the bad stop nothing, the odd come out right."""

import collections
import io
import itertools
import json
import os
import struct
import tempfile
import wave
from fractions import Fraction

import av
import numpy as np
import pytest
import tensorflow as tf
from conftest import prepare_in_process
from PIL import Image

from data_prep import sources
from data_prep.sources import folder
from tf_dvdgan import errors
from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.data import records

VARYING = [t + t // 2 * 3 for t in range(24)]  # 0, 1, 5, 6, 10, ...
CORNERS = np.uint8([[[230, 30, 30], [30, 200, 30]], [[30, 30, 220], [220, 220, 220]]])


def frames(height, width, count=24):
    """Four corners of other colors; a square between them grows brighter."""
    video = CORNERS.repeat(-(-height // 2), axis=0).repeat(-(-width // 2), axis=1)
    video = np.stack([video[:height, :width]] * count)
    rows, columns = (slice(size // 3, size - size // 3) for size in (height, width))
    video[:, rows, columns] = 10 * np.arange(count).reshape([-1, 1, 1, 1])
    return video


def assert_right(video, corners=CORNERS):
    """Whether decoded frames show `frames`, upright and in order."""
    height, width = video.shape[1:3]
    shown = video[:, [2, 2, -3, -3], [2, -3, 2, -3]].reshape([-1, 2, 2, 3])
    assert np.abs(shown.astype(int) - corners).max() < 40
    rows, columns = (slice(size // 2 - 2, size // 2 + 2) for size in (height, width))
    middle = video[:, rows, columns].mean((1, 2, 3))
    assert np.abs(middle - 10 * np.arange(len(video))).max() < 8


def encoded(
    video, suffix="mp4", codec="libx264", pix_fmt="yuv420p", ticks=None, **options
):
    """A video file; each frame's time is so many ticks of 1/25 s, or its number."""
    with tempfile.NamedTemporaryFile() as file:
        with av.open(file.name, "w", format=suffix, options=options) as container:
            stream = container.add_stream(codec, rate=25)
            stream.height, stream.width = video.shape[1:3]
            stream.pix_fmt, stream.bit_rate = pix_fmt, 4_000_000
            stream.codec_context.color_range = 2 if pix_fmt == "gray" else 0
            for time, frame in zip(ticks or itertools.count(), video, strict=False):
                frame = av.VideoFrame.from_ndarray(frame, "rgb24")
                frame.pts, frame.time_base = time, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return file.read()


def turned(mp4):
    """The same mp4 with a note that it is to be shown turned to the right."""
    at = mp4.index(b"tkhd") + 4 + 40
    one = 1 << 16
    matrix = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    return mp4[:at] + matrix + mp4[at + 36 :]


def read_back(shards):
    manifest = manifest_lib.load(shards)
    found = {}
    for shard in manifest.splits["train"]:
        for record in tf.data.TFRecordDataset(os.path.join(shards, shard.file)):
            context, encoded_frames = records.parse(record)
            video = np.stack([tf.io.decode_image(f, 3) for f in encoded_frames])
            size = int(context["height"]), int(context["width"])
            assert size == video.shape[1:3]
            found[os.path.basename(context["source"].numpy().decode())] = video
    with open(f"{shards}/rejected.jsonl") as file:
        rejected = {e["path"]: e["reason"] for e in map(json.loads, file)}
    return found, rejected, manifest


def test_odd_files_come_out_right(tmp_path):
    good = encoded(frames(60, 80))
    written = {
        "odd.mp4": encoded(frames(51, 67), pix_fmt="yuv444p"),
        "portrait.mp4": encoded(frames(80, 60)),
        "wide.mp4": encoded(frames(72, 128)),
        "narrow.avi": encoded(frames(60, 80), "avi", "mpeg4"),
        "gray.mp4": encoded(frames(60, 80), pix_fmt="gray"),
        "turned.mp4": turned(good),
        "rates.mp4": encoded(frames(60, 80), ticks=VARYING),
        "pauses.avi": encoded(frames(60, 80), "avi", "mpeg4", ticks=VARYING),
        "no_count.mkv": encoded(frames(60, 80), "matroska"),
        "avi_inside.mp4": encoded(frames(60, 80), "avi", "mpeg4"),
        "mp4_inside.txt": good,
        "Übung — 体操 🤸.mp4": good,
        "100%d [x] 'q'.mp4": good,
    }
    (tmp_path / "videos" / "Größe 体").mkdir(parents=True)
    for name, data in written.items():
        (tmp_path / "videos" / "Größe 体" / name).write_bytes(data)
    listing = folder.list_clips(str(tmp_path / "videos"))
    shards = str(tmp_path / "shards")
    prepare_in_process(listing, str(tmp_path / "videos"), shards, resolution=48)
    found, rejected, manifest = read_back(shards)
    assert not rejected and found.keys() == written.keys()
    assert manifest.class_names == ["Größe 体"]
    sizes = {name: video.shape[1:3] for name, video in found.items()}
    assert sizes.pop("odd.mp4") == (48, 63)
    assert sizes.pop("portrait.mp4") == sizes.pop("turned.mp4") == (64, 48)
    assert sizes.pop("wide.mp4") == (48, 85)
    assert set(sizes.values()) == {(48, 64)}
    gray = (CORNERS @ [0.299, 0.587, 0.114])[..., None]
    corners = {"turned.mp4": np.rot90(CORNERS, -1), "gray.mp4": gray}
    for name, video in found.items():
        assert_right(video, corners.get(name, CORNERS))


def jpeg(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def sound():
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16000))
    return buffer.getvalue()


def sound_in_mp4():
    buffer = io.BytesIO()
    with (
        av.open(io.BytesIO(sound())) as source,
        av.open(buffer, "w", format="mp4") as container,
    ):
        stream = container.add_stream("aac", rate=8000)
        for frame in source.decode(audio=0):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def test_bad_files_stop_nothing_and_are_reported_with_their_reasons(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, [24, 60, 80, 3], np.uint8)
    good = encoded(frames(60, 80))
    mp4, avi = encoded(noise), encoded(noise, "avi", "mpeg4")
    rest = mp4[1000 + len(mp4) // 2 :]
    first = encoded(noise, movflags="faststart")
    strip = jpeg(np.concatenate(frames(60, 60, 20)))
    # What is in each file, and why it is skipped.
    bad = {
        "zero.mp4": (b"", "empty file"),
        "text.mp4": (b"no video\n" * 99, "not a video"),
        "readme.txt": (b"no video\n" * 99, "not a video"),
        "picture.jpg": (jpeg(noise[0]), "not a video"),
        "list.mp4": (b"ffconcat version 1.0\nfile good.mp4\n", "not a video"),
        "cut.mp4": (mp4[: len(mp4) // 2], "not a video"),
        "cut_late.mp4": (first[: len(first) * 3 // 4], "truncated: 17 of 24 frames"),
        "cut.avi": (avi[: len(avi) // 2], "truncated: 12 of 24 frames"),
        "cut.mkv": (encoded(noise, "matroska")[:40000], "truncated: 0.2 of 1.0 s"),
        "damaged.mp4": (mp4[:1000] + bytes(len(mp4) // 2) + rest, "12 of 24"),
        "sound.mp4": (sound_in_mp4(), "no video stream"),
        "sound.wav": (sound(), "not a video"),
        "one_frame.mp4": (encoded(frames(60, 80, 1)), "only one frame"),
        "strip_cut.jpg": (strip[: len(strip) // 2], "an image cannot be decoded"),
        "strip_of_one.jpg": (jpeg(noise[0, :60, :60]), "only one frame"),
        "strip_of_none.jpg": (jpeg(noise[0]), "not a stack of square frames: 80 x 60"),
    }
    videos = tmp_path / "videos"
    videos.mkdir()
    for name, (data, _) in bad.items():
        (videos / name).write_bytes(data)
    (videos / "link.mp4").symlink_to("gone.mp4")
    (videos / "folder.mp4").mkdir()
    (videos / "frames").mkdir()
    for i in range(3):
        data = jpeg(noise[i])
        (videos / "frames" / f"{i}.jpg").write_bytes(data[: 1000 if i == 1 else None])
    (videos / "sizes").mkdir()
    (videos / "sizes" / "1.jpg").write_bytes(jpeg(noise[0]))
    (videos / "sizes" / "2.jpg").write_bytes(jpeg(noise[0, :50]))
    (videos / "no_frames").mkdir()
    (videos / "good.mp4").write_bytes(good)
    reasons = {name: reason for name, (_, reason) in bad.items()} | {
        "link.mp4": "its link leads nowhere",
        "folder.mp4": "not a file",
        "frames": "an image cannot be decoded: 1.jpg",
        "sizes": "frames of different sizes",
        "no_frames": "not a folder of numbered images",
    }

    def form(name):
        of_strips = "stack" if name.startswith("strip") else "video"
        return of_strips if "." in name else "frames"

    names = [*reasons, "good.mp4"]
    clips = [sources.Clip(name, 0, name, "train", form(name)) for name in names]
    shards = str(tmp_path / "shards")
    with pytest.raises(errors.UserError, match=f"{len(reasons)} of {len(names)} files"):
        prepare_in_process(sources.Listing(["a"], clips), str(videos), shards)
    with open(f"{shards}/rejected.jsonl") as file:
        rejected = {e["path"]: e["reason"] for e in map(json.loads, file)}
    assert rejected.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in rejected[name], name

    # Among many good ones they are counted by kind, and the good one is right.
    many = [sources.Clip("good.mp4", 0, f"{i}", "train") for i in range(len(names))]
    listing = sources.Listing(["a"], clips + many)
    prepare_in_process(listing, str(videos), shards)
    found, _, manifest = read_back(shards)
    assert_right(found["good.mp4"])
    assert manifest.num_clips("train") == len(many) + 1
    kinds = collections.Counter(r.split(":")[0] for r in rejected.values())
    assert manifest.num_rejected == kinds
    assert (
        kinds["not a file"] == kinds["its link leads nowhere"] == 1
        and kinds["truncated"] == 4
    )
