"""The child process that decodes: what it gives, and that nothing can stop it."""

import itertools
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import tensorflow as tf
from conftest import prepare_in_process
from PIL import Image

from data_prep import decoder as decoder_lib
from data_prep import decoding, forms, sources
from tf_dvdgan.data import child_process, filesystem, video_io, video_reader

# A decoder that does what a clip's name says.
TROUBLED = """
import ctypes, os, signal, sys, time
import numpy as np
from data_prep import decoder, forms
from tf_dvdgan.data import child_process

read, been_asked = forms.read, []

def slow_frames(name):
    for number in range(7):
        time.sleep(30 if name == "slow_then_hangs" and number == 4 else 0.25)
        yield np.full([32, 32, 3], number, np.uint8)

def sparse_frames(progress):
    child_process.FRAMES_PER_LIMIT = 1
    for number in range(7):
        time.sleep(0.25)
        progress()
    yield from np.zeros([2, 32, 32, 3], np.uint8)

def troubled(form, paths, offset, side, fps, progress):
    name = os.path.basename(paths[0])
    print("libraries may print", name)
    if name.startswith("hang"):
        time.sleep(1000)
    if name.startswith("lock"):
        ctypes.PyDLL(None).sleep(1000)  # keeps Python's lock
    if name.startswith("segfault"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("abort"):
        os.abort()
    if name.startswith("memory"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("exit"):
        os._exit(3)
    if name.startswith("error"):
        raise TypeError("of a library")
    if name.startswith("second") and been_asked:
        os.abort()
    if name.startswith("slow"):
        return 25.0, slow_frames(name)
    if name.startswith("sparse"):
        return 1.0, sparse_frames(progress)
    if name.startswith("big"):
        bytearray(6 << 30)
    been_asked.append(name)
    return read(form, paths, offset, side, fps, progress)

forms.read = troubled
decoder.serve()
"""
REASONS = {
    "hang.avi": "too slow to decode: over 1 s, see --decode_seconds",
    "segfault.avi": "the decoder crashed: SIGSEGV",
    "abort.avi": "the decoder crashed: SIGABRT",
    "memory.avi": "the decoder crashed: SIGKILL, probably out of memory",
    "exit.avi": "the decoder crashed: exit code 3",
    "error.avi": "the decoder failed: TypeError of a library",
    "big.avi": "the decoder failed: out of memory",
}


def clip(num_frames=30, height=48, width=64):
    frames = np.zeros([num_frames, height, width, 3], np.uint8)
    for t in range(num_frames):
        frames[t, 10:30, t : t + 20] = [240, 60, 20]
    return frames


@pytest.fixture
def video(tmp_path) -> str:
    path = str(tmp_path / "clip.avi")
    video_io.write_video(path, clip())
    return path


@pytest.fixture
def troubled(tmp_path, monkeypatch):
    """The decoder is the troubled one."""
    script = tmp_path / "troubled.py"
    script.write_text(TROUBLED)
    monkeypatch.setattr(decoder_lib, "_command", lambda: [sys.executable, str(script)])


@pytest.fixture
def decoder():
    with_png = decoder_lib.Decoder(decoding.Recipe(32, "png"), seconds=60)
    yield with_png
    with_png.close()


def pixels(segment):
    return np.stack([cv2.imdecode(np.frombuffer(f, np.uint8), 1) for f in segment])[
        ..., ::-1
    ]


def test_the_child_is_light():
    script = "import sys, data_prep.decoder as d; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "cv2" in loaded
    assert not {"tensorflow", "apache_beam", "tensorflow_io", "scipy"} & set(loaded)


def test_it_gives_what_the_reader_gives(decoder, video):
    decoded = decoder.decode("video", [video])
    assert (decoded.fps, decoded.height, decoded.width) == (25.0, 32, 43)
    expected = list(video_reader.VideoReader(video, 32))
    np.testing.assert_array_equal(pixels(decoded.segments[0]), expected)
    assert decoder.decode("video", [video]) == decoded
    with pytest.raises(video_io.VideoError, match="not a file"):
        decoder.decode("video", [video + "x"])
    assert decoder.decode("video", [video]) == decoded


def test_hanging_and_crashing_cost_a_clip_each(troubled, video):
    decoder = decoder_lib.Decoder(decoding.Recipe(16), seconds=1)
    for name, reason in REASONS.items():
        with pytest.raises(video_io.VideoError) as error:
            decoder.decode("video", [name])
        assert str(error.value) == reason
        assert len(decoder.decode("video", [video]).segments[0]) == 30
    decoder.close()


def test_a_crash_is_a_clips_fault_only_if_it_crashes_a_new_decoder(troubled, video):
    video = os.path.join(os.path.dirname(video), "second.avi")
    video_io.write_video(video, clip())
    decoder = decoder_lib.Decoder(decoding.Recipe(16), seconds=60)
    for _ in range(2):
        assert len(decoder.decode("video", [video]).segments[0]) == 30
    decoder.close()


def test_the_job_continues_and_reports(troubled, video, tmp_path):
    names = [*REASONS, *(f"{i}.avi" for i in range(8))]
    for name in names:
        if not os.path.exists(tmp_path / name):
            os.link(video, tmp_path / name)
    clips = [sources.Clip(name, 0, name, "train") for name in names]
    listing = sources.Listing(["a"], clips)
    shards = str(tmp_path / "shards")
    outcome = prepare_in_process(listing, str(tmp_path), shards, decode_seconds=1)
    assert {r["path"]: r["reason"] for r in outcome.rejected} == REASONS
    assert outcome.num_written == {"train": 8}
    assert outcome.manifest.num_rejected == {
        "too slow to decode": 1,
        "the decoder crashed": 4,
        "the decoder failed": 2,
    }


def test_the_time_limit_counts_progress(troubled, monkeypatch):
    """Not the whole file: 1.75 seconds pass a limit of 1, at a frame each 0.25."""
    monkeypatch.setattr(child_process, "FRAMES_PER_LIMIT", 1)
    decoder = decoder_lib.Decoder(decoding.Recipe(16, segment_frames=3), seconds=1)
    decoded = decoder.decode("video", ["slow"])
    assert decoded.segments.lengths == {0: 3, 1: 3}
    with pytest.raises(video_io.VideoError, match="too slow to decode: over 1 s"):
        decoder.decode("video", ["slow_then_hangs"])
    decoder.close()


def test_frames_that_a_lower_rate_drops_are_progress_too(troubled, tmp_path):
    decoder = decoder_lib.Decoder(decoding.Recipe(16), seconds=1)
    assert decoder.decode("video", ["sparse"]).segments.lengths == {0: 2}
    decoder.close()
    seen = []
    path = str(tmp_path / "clip.avi")
    video_io.write_video(path, clip())
    recipe = decoding.Recipe(16, fps=5.0)
    *_, last = decoding.events("video", [path], 0, recipe, lambda: seen.append(1))
    assert last["fps"] == 5.0 and len(seen) == 30


def test_long_clips_are_not_held_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "_MAX_BYTES_IN_MEMORY", 100_000)
    path = str(tmp_path / "clip.avi")
    noise = np.random.default_rng(0).integers(0, 255, [50, 64, 64, 3], np.uint8)
    video_io.write_video(path, np.tile(noise, [4, 1, 1, 1]))
    decoder = decoder_lib.Decoder(
        decoding.Recipe(64, "png", segment_frames=16), seconds=60
    )
    segments = decoder.decode("video", [path]).segments
    decoder.close()
    assert segments._file._rolled  # into a file
    assert segments.lengths == dict.fromkeys(range(12), 16)
    expected = list(itertools.islice(video_reader.VideoReader(path), 176, 192))
    np.testing.assert_array_equal(pixels(segments[11]), expected)


def test_a_child_that_cannot_start_is_no_clips_fault(monkeypatch):
    command = [sys.executable, "-c", "raise SystemExit('no such library')"]
    monkeypatch.setattr(decoder_lib, "_command", lambda: command)
    with pytest.raises(RuntimeError, match="does not start"):
        decoder_lib.Decoder(decoding.Recipe(16), seconds=60)


@pytest.mark.parametrize("clip_name", ["", "hang.avi", "lock.avi"])
def test_the_child_ends_with_its_parent(troubled, clip_name):
    parent = f"""
import sys
from data_prep import decoder as decoder_lib
from data_prep import decoding
decoder_lib._command = lambda: {decoder_lib._command()}
decoder = decoder_lib.Decoder(decoding.Recipe(16), seconds=2)
print(decoder._child.pid, flush=True)
decoder.decode("video", ["{clip_name}"]) if "{clip_name}" else input()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", parent],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    child = int(process.stdout.readline())
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 10
    while is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(process: int) -> bool:
    """Whether there is such a process, and not only what is left of it."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("num_frames", "segment_frames", "lengths"),
    [
        (30, 0, {0: 30}),
        (30, 10, {0: 10, 1: 10, 2: 10}),
        (30, 12, {0: 12, 1: 12}),
        (5, 12, {0: 5}),
    ],
)
def test_clips_are_cut_into_segments(tmp_path, num_frames, segment_frames, lengths):
    path = str(tmp_path / "clip.avi")
    video_io.write_video(path, clip(num_frames))
    whole = decoding.decode("video", [path], 0, decoding.Recipe(16))
    recipe = decoding.Recipe(16, segment_frames=segment_frames)
    decoded = decoding.decode("video", [path], 0, recipe)
    assert {n: len(frames) for n, frames in decoded.segments.items()} == lengths
    for n, frames in decoded.segments.items():
        first = n * segment_frames
        assert frames == whole.segments[0][first : first + len(frames)]


def test_a_folder_of_frames_is_read_by_number(decoder, tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for t in range(1, 13):
        image = Image.fromarray(np.full([48, 64, 3], 20 * t, np.uint8))
        image.save(folder / f"{t}.png")
    (folder / "Thumbs.db").touch()
    (folder / "._3.png").touch()
    frames = sources.Clip("clip", 0, "clip", "train", "frames")
    with forms.fetch(frames, str(tmp_path)) as (paths, offset):
        decoded = decoder.decode("frames", paths, offset)
    assert decoded.fps == 12
    assert pixels(decoded.segments[0])[:, 5, 5, 0].tolist() == list(range(20, 241, 20))


@pytest.mark.parametrize("count", [16, 34])
def test_a_stack_gives_32_frames(decoder, tmp_path, count):
    levels = 7 * np.arange(count)
    stack = levels.astype(np.uint8).repeat(128)[:, None, None] + np.zeros(
        [128, 3], np.uint8
    )
    Image.fromarray(stack).save(tmp_path / "clip.jpg", quality=95)
    decoded = decoder.decode("stack", [str(tmp_path / "clip.jpg")])
    shown = pixels(decoded.segments[0])
    assert shown.shape == (32, 32, 32, 3)
    expected = levels[np.minimum(np.arange(32), count - 1)]
    np.testing.assert_allclose(shown[:, 16, 16, 0], expected, atol=2)


@pytest.fixture
def bair_record(tmp_path):
    """A file of two records as BAIR's; gives its path, the offset and frames of one."""
    rng = np.random.default_rng(0)
    videos = rng.integers(0, 255, [2, 30, 64, 64, 3], np.uint8)
    path, offsets = str(tmp_path / "traj.tfrecords"), []
    with tf.io.TFRecordWriter(path) as writer:
        for video in videos:
            features = {}
            for t, frame in enumerate(video):
                features[f"{t}/image_aux1/encoded"] = bytes_feature(frame.tobytes())
                features[f"{t}/image_main/encoded"] = bytes_feature(bytes(12288))
                features[f"{t}/action"] = tf.train.Feature(
                    float_list=tf.train.FloatList(value=[0.5] * 4)
                )
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.flush()
            offsets.append(os.path.getsize(path))
            writer.write(example.SerializeToString())
    return path, offsets[1], videos[1]


def bytes_feature(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def test_bair_records_come_out_without_loss(bair_record):
    path, offset, frames = bair_record
    recipe = decoding.Recipe(64, "png")
    decoded = decoding.decode("softmotion", [path], offset, recipe)
    np.testing.assert_array_equal(pixels(decoded.segments[0]), frames)


def test_a_bair_record_that_was_cut_or_is_none_is_refused(bair_record, tmp_path):
    path, offset, _ = bair_record
    recipe = decoding.Recipe(64, "png")
    with open(path, "rb+") as file:
        file.truncate(offset + 5000)
    for place in (offset, offset + 4995):
        with pytest.raises(video_io.VideoError, match="truncated"):
            decoding.decode("softmotion", [path], place, recipe)
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"no example")
        writer.write(tf.train.Example().SerializeToString())
    for place in (0, 26):
        with pytest.raises(video_io.VideoError, match="not a record of a clip"):
            decoding.decode("softmotion", [path], place, recipe)


def unavailable(*_):
    raise tf.errors.UnavailableError(None, None, "connection lost")


def test_remote_clips_are_fetched(decoder, bair_record, tmp_path, monkeypatch):
    top = f"ram://{tmp_path.name}"
    path, offset, frames = bair_record
    tf.io.gfile.makedirs(f"{top}/clip")
    tf.io.gfile.copy(path, f"{top}/traj.tfrecords")
    for t in (10, 9, 8):
        data = video_io.encode_png(np.full([32, 32, 3], t, np.uint8))
        with tf.io.gfile.GFile(f"{top}/clip/{t}.png", "wb") as file:
            file.write(data)
    record = sources.Clip("traj.tfrecords", 0, "b", "train", "softmotion", offset)
    with forms.fetch(record, top) as (paths, place):
        decoded = decoding.decode(
            "softmotion", paths, place, decoding.Recipe(64, "png")
        )
    np.testing.assert_array_equal(pixels(decoded.segments[0]), frames)
    images = sources.Clip("clip", 0, "c", "train", "frames")
    with forms.fetch(images, top) as (paths, place):
        decoded = decoder.decode("frames", paths, place)
    assert pixels(decoded.segments[0])[:, 0, 0, 0].tolist() == [8, 9, 10]
    assert not any(map(os.path.exists, paths))
    with monkeypatch.context() as patched:  # a lost connection is no bad clip
        patched.setattr(filesystem, "GFile", unavailable)
        with pytest.raises(OSError, match="lost"), forms.fetch(record, top):
            pass
    for gone, form in (("no.tfrecords", "softmotion"), ("no", "frames")):
        nothing = sources.Clip(gone, 0, gone, "train", form, 5)
        with forms.fetch(nothing, top) as (paths, place):
            with pytest.raises(video_io.VideoError):
                decoder.decode(form, paths, place)
