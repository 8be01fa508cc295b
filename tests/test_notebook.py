"""What `show` takes for videos and names."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

import tf_dvdgan as dvd

VIDEOS = np.random.default_rng(0).integers(0, 256, [2, 3, 64, 64, 3], np.uint8)


@pytest.mark.parametrize(
    "videos", [list(VIDEOS), tf.constant(VIDEOS)], ids=["list", "tensor"]
)
def test_videos_and_names_come_in_several_forms(videos):
    expected = dvd.show(VIDEOS, ["run", "jump"]).gif
    assert dvd.show(videos, np.array(["run", "jump"])).gif == expected
    assert dvd.show(videos, names=None).gif == dvd.show(VIDEOS).gif != expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"videos": None}, "`videos` must be uint8"),
        ({"videos": [VIDEOS[0], VIDEOS[1, :2]]}, "`videos` must be .* of one shape"),
        ({"videos": VIDEOS[..., :2]}, r"not uint8 \[2, 3, 64, 64, 2\]"),
        ({"videos": VIDEOS[:0]}, "`videos` must be uint8"),
        ({"names": "ab"}, "`names` must be a list of names, not 'ab'"),
        ({"names": [1, 2]}, r"`names` must be a list of names, not \[1, 2\]"),
        ({"names": 3}, "`names` must be a list of names, not 3"),
        ({"names": np.array(["a", "b", "c"])}, "3 names for 2 videos"),
        ({"columns": 1.5}, "`columns` must be a whole number of at least 1, not 1.5"),
        ({"columns": -1}, "`columns` must be a whole number of at least 1, not -1"),
        ({"fps": 0}, "`fps` must be a number of at least 0.01, not 0"),
        ({"fps": float("nan")}, "`fps` must be a number of at least 0.01, not nan"),
        ({"fps": "8"}, "`fps` must be a number of at least 0.01, not '8'"),
    ],
)
def test_a_mistake_is_reported(arguments, message):
    with pytest.raises(dvd.UserError, match=message):
        dvd.show(**{"videos": VIDEOS, **arguments})


def test_the_slowest_gif_can_be_written():
    assert dvd.show(VIDEOS, fps=0.02).gif.startswith(b"GIF")
    assert dvd.show(VIDEOS, fps=0.01).gif.startswith(b"GIF")


def test_a_grid_is_saved_to_a_path_of_any_kind(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shown = dvd.show(VIDEOS)
    shown.save(tmp_path / "a.gif")
    shown.save(pathlib.Path("~/b.gif"))
    assert (tmp_path / "a.gif").read_bytes() == shown.gif
    assert (tmp_path / "b.gif").read_bytes() == shown.gif
    for path, message in (("", "is empty"), (tmp_path, "it is a folder"), (3, "text")):
        with pytest.raises(dvd.UserError, match=message):
            shown.save(path)
