"""Videos read in a child: as here, and within its limits."""

import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

from tf_dvdgan import demo_videos
from tf_dvdgan.data import child_process, video_io, video_process, video_reader

# A child whose decoder has a fault, by the name of the file.
TROUBLED = """
import os, sys, time
import numpy as np
from tf_dvdgan.data import video_process, video_reader

class Reader:
    declared_frames, height, width, codec, fps = 3, 2, 2, 'none', 25.0

    def __init__(self, path, smallest_side=None, progress=None):
        self.name, self.progress = os.path.basename(path), progress

    def __iter__(self):
        if self.name == "error":
            raise TypeError("of a library")
        if self.name == "crash":
            os.abort()
        if self.name == "memory":
            np.ones(10 ** 11, np.uint8)
        frames = 700 if self.name == "long" else 3
        for number in range(frames):
            if self.name == "hang" or (self.name == "long" and number % 300 == 0):
                time.sleep(0.6 if self.name == "long" else 60)
            self.progress()
            yield np.full([2, 2, 3], number % 256, np.uint8)

video_reader.VideoReader = Reader
video_process._serve()
"""


@pytest.fixture
def troubled(tmp_path, monkeypatch):
    """A reader whose child is the troubled one, with a limit of one second."""
    script = tmp_path / "troubled.py"
    script.write_text(TROUBLED)
    start = child_process.start_child
    monkeypatch.setattr(
        child_process, "start_child", lambda _: start([sys.executable, str(script)])
    )
    with video_process.Reader(seconds=1.0) as reader:
        reader.read("good", [])  # it has started
        yield reader


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("videos") / "a.mp4")
    video_io.write_video(path, demo_videos.render("shapes", 3, (32, 48), [0, 0, 1]))
    return path


def test_frames_are_those_that_are_read_here(video):
    expected = np.stack(list(video_reader.VideoReader(video, 16)))
    with video_process.Reader() as reader:
        found = reader.clip_info(video)
        assert found[:4] == (40, 32, 48, "h264") and found.fps == pytest.approx(25)
        frames, count = reader.read(video, [0, 7, 39, 60, 7], 16)
        assert count == 40 and sorted(frames) == [0, 7, 39]
        for number, frame in frames.items():
            np.testing.assert_array_equal(frame, expected[number])
        frames, count = reader.read(video, [2, 4], to_end=False)
        assert count == 5 and frames[4].shape == (32, 48, 3)
        with pytest.raises(video_io.VideoError):
            reader.read(__file__, [0])
        assert reader.read(video, [1])[1] == 40  # the child is the same


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("crash", "the decoder crashed"),
        ("hang", "too slow to decode"),
        ("memory", "out of memory"),
        ("error", "the decoder failed: TypeError of a library"),
    ],
)
def test_a_fault_costs_one_video(troubled, name, message):
    with pytest.raises(video_io.VideoError, match=message):
        troubled.read(name, [0])
    frames, count = troubled.read("good", [2])
    assert count == 3 and frames[2].max() == 2


def test_progress_begins_the_time_again(troubled):
    seen = []
    _, count = troubled.read("long", [0], progress=lambda: seen.append(1))
    assert count == 700 and len(seen) == 2


def test_closing_ends_a_read_in_another_thread(troubled):
    threading.Timer(0.3, troubled.close).start()
    began = time.perf_counter()
    with pytest.raises(video_io.VideoError, match="crashed"):
        troubled.read("hang", [0])
    assert time.perf_counter() - began < 0.9
    with pytest.raises(video_io.VideoError, match="stopped"):
        troubled.read("good", [0])


def test_an_interrupted_read_leaves_no_reply_behind(troubled):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        troubled.read("long", [0], progress=stop)
    assert troubled.read("good", [1])[0][1].max() == 1


def test_the_child_does_not_import_tensorflow_and_ends_with_its_parent(video):
    with video_process.Reader() as reader:
        reader.clip_info(video)
        pid = reader._child.pid
        with open(f"/proc/{pid}/maps") as maps:
            assert "tensorflow" not in maps.read()
        reader._child.stdin.close()  # as the parent's end does
        reader._child.wait(timeout=10)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
