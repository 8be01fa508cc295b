"""A still scene filmed by a moving camera is still again; what cannot be is refused."""

import cv2
import numpy as np
import pytest

from data_prep import decoding, stabilization
from tf_dvdgan.data import video_io


def scene(height=400, width=500):
    """Blobs of many sizes: something to find everywhere."""
    rng = np.random.default_rng(0)
    image = np.zeros([height, width, 3], np.float32)
    for sigma in (2, 4, 8):
        noise = rng.normal(size=image.shape).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
        image += smooth / smooth.std()
    return np.clip(128 + 40 * image, 0, 255).astype(np.uint8)


def filmed(num_frames=24, size=128):
    """The scene by a camera that pans, turns and comes closer, smoothly."""
    frames = []
    for t in range(num_frames):
        swing = np.sin(t / num_frames * np.pi)
        matrix = cv2.getRotationMatrix2D((250, 200), 8 * swing, 1 + 0.1 * swing)
        matrix[:, 2] -= (180 + 20 * swing, 130 + 0.5 * t)
        frames.append(cv2.warpAffine(scene(), matrix, (size, size)))
    return np.stack(frames)


def change(frames):
    """How much neighbors differ, on average."""
    return np.abs(np.diff(frames.astype(float), axis=0)).mean()


def test_a_still_scene_under_a_moving_camera_is_still():
    frames = filmed()
    still = np.stack(list(stabilization.stabilize(frames)))
    np.testing.assert_array_equal(still[0], frames[0])
    assert change(frames) > 8 * change(still)
    # Every frame shows what the first one does, and not only its neighbor.
    apart = np.abs(still.astype(float) - still[0]).mean((1, 2, 3))
    assert (
        apart.max()
        < 0.3 * np.abs(frames.astype(float) - frames[0]).mean((1, 2, 3)).max()
    )
    assert (still.max(-1) > 0).all()  # no holes


def test_holes_are_filled_from_the_frame_before():
    wide = scene()
    frames = np.stack([wide[100:228, 100 + 4 * t : 228 + 4 * t] for t in range(8)])
    still = np.stack(list(stabilization.stabilize(frames)))
    # What the camera has left to the left of it stays as it was last seen.
    np.testing.assert_allclose(still[7, 8:-8, :20], frames[0][8:-8, :20], atol=30)
    assert np.abs(still[7] - frames[0].astype(float))[8:-8, 8:-8].mean() < 4


def test_the_edge_of_a_warped_frame_is_excluded():
    shift = np.float64([[1, 0, 20], [0, 1, 0], [0, 0, 1]])
    below = np.zeros([40, 60, 3], np.uint8)
    warped = stabilization._warp(np.full_like(below, 200), shift, below)
    assert (warped[:, :22] == 0).all() and (warped[:, 22:] == 200).all()


def test_a_camera_that_turns_away_is_refused():
    far = np.float64([[1, 0, 500], [0, 1, 0], [0, 0, 1]])
    frame = np.zeros([40, 60, 3], np.uint8)
    with pytest.raises(stabilization.CameraMotionError, match="nothing of the scene"):
        stabilization._warp(frame, far, frame)


def test_frames_are_stabilized_at_the_size_that_they_have(tmp_path):
    path = str(tmp_path / "clip.avi")
    video_io.write_video(path, filmed(6, size=160))
    seen = []

    def stabilize(frames):
        seen.extend(frames)
        return iter(seen)

    recipe = decoding.Recipe(32, stabilize=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stabilization, "stabilize", stabilize)
        decoded = decoding.decode("video", [path], 0, recipe)
    assert {frame.shape for frame in seen} == {(160, 160, 3)}
    assert (decoded.height, decoded.width) == (32, 32)


def test_what_moves_before_the_scene_moves_on():
    frames = filmed()
    for t in range(len(frames)):
        frames[t, 50:70, 10 + 4 * t : 30 + 4 * t] = [250, 20, 20]
    still = np.stack(list(stabilization.stabilize(frames)))
    red = (still[..., 0] > 235) & (still[..., 1:].max(-1) < 35)
    columns = [np.nonzero(frame)[1].mean() for frame in red]
    assert columns[-1] - columns[0] > 60


def test_noise_is_refused():
    noise = np.random.default_rng(0).integers(0, 255, [4, 128, 128, 3], np.uint8)
    with pytest.raises(stabilization.CameraMotionError, match="camera motion"):
        list(stabilization.stabilize(noise))


def test_a_plain_scene_under_a_still_camera_stays_as_it_is():
    frames = np.full([6, 128, 128, 3], 90, np.uint8)
    for t in range(6):
        frames[t, 40:60, 10 * t : 10 * t + 20] = 200
    np.testing.assert_array_equal(list(stabilization.stabilize(frames)), frames)
    frames[3:] += 20  # the light changes, or the camera shows something else
    with pytest.raises(stabilization.CameraMotionError, match="camera motion unknown"):
        list(stabilization.stabilize(frames))


def test_a_segment_that_cannot_be_stabilized_is_dropped_alone(tmp_path):
    path = str(tmp_path / "clip.avi")
    noise = np.random.default_rng(0).integers(0, 255, [12, 128, 128, 3], np.uint8)
    frames = np.concatenate([filmed(12), noise, filmed(12), filmed(5)])
    video_io.write_video(path, frames)
    recipe = decoding.Recipe(64, segment_frames=12, stabilize=True)
    decoded = decoding.decode("video", [path], 0, recipe)
    assert {n: len(s) for n, s in decoded.segments.items()} == {0: 12, 2: 12}
    assert list(decoded.dropped) == [1] and "camera motion" in decoded.dropped[1]
    assert (decoded.height, decoded.width) == (64, 64)
    video_io.write_video(path, noise)
    with pytest.raises(video_io.VideoError, match="camera motion"):
        decoding.decode("video", [path], 0, recipe)
