"""Writes small data sets as the real ones lie on disks: names, lists, codecs, bytes."""

import pathlib
from collections.abc import Iterable

import cv2
import numpy as np
import tensorflow as tf

from tf_dvdgan.data import video_io

SIZE = (24, 32)  # height and width of videos
NUM_FRAMES = 4
STEP = 4  # a frame is lighter by this than the one before


def frames(seed: int, count: int = NUM_FRAMES, size=SIZE) -> np.ndarray:
    """Smooth frames that a lossy codec keeps: a color of the seed's, lighter by time.

    Returns:
      `[count, height, width, 3]` uint8 RGB.
    """
    color = np.random.default_rng(seed).integers(20, 100, 3)
    lighter = STEP * np.arange(count)[:, None, None, None]
    slope = np.linspace(0, 20, size[1])[None, None, :, None]
    shape = (count, *size, 3)
    return np.broadcast_to(color + lighter + slope, shape).astype(np.uint8)


def video(path: pathlib.Path, seed: int) -> None:
    """Writes a video file in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    video_io.write_video(str(path), frames(seed))


def text(path: pathlib.Path, lines: Iterable[str], end: str = "\n") -> None:
    """Writes a list file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())


UCF101_TRAIN = [
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1",
    "HandstandPushups/v_HandStandPushups_g08_c01.avi 3",
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c02.avi 1",
]
UCF101_TEST = [
    "Archery/v_Archery_g01_c01.avi",
    "HandstandPushups/v_HandStandPushups_g01_c01.avi",
]


def ucf101(
    root: pathlib.Path, flat: bool = False, end: str = "\n", top: str = ""
) -> None:
    """UCF-101 with three classes; class numbers are not in alphabetical order."""
    lists = root / "ucfTrainTestlist"
    text(
        lists / "classInd.txt",
        ["2 Archery", "1 ApplyEyeMakeup", "3 HandstandPushups"],
        end,
    )
    text(lists / "trainlist01.txt", UCF101_TRAIN, end)
    text(lists / "testlist01.txt", UCF101_TEST, end)
    text(lists / "trainlist02.txt", [UCF101_TEST[0] + " 2"], end)
    text(lists / "testlist02.txt", [UCF101_TRAIN[0].split()[0]], end)
    for seed, line in enumerate(UCF101_TRAIN + UCF101_TEST):
        listed = pathlib.Path(line.split()[0])
        video(root / top / (listed.name if flat else listed), seed)


# Of each: label, id, start, end, split; the second one's file is missing.
KINETICS = [
    ("riding a bike", "-0wR5jVB_WP", 417, 427, "train"),
    ("riding a bike", "gone_-gone-", 0, 10, "train"),
    ("abseiling", "_-4hBTZ4V5-", 7, 17, "train"),
    ("abseiling", "V_0123456-9", 20, 30, "validate"),
    ("zumba", "test_______", 1, 11, "test"),
]


def kinetics600(
    root: pathlib.Path,
    layout: str = "{split}/{label}",
    delimiter: str = ",",
    suffix: str = ".csv",
    is_cc: bool = False,
    test_labels: bool = True,
) -> None:
    """Kinetics-600 with three classes.

    Args:
      root: where to.
      layout: of the folders.
      delimiter: between columns.
      suffix: of the lists.
      is_cc: whether lists have that column.
      test_labels: whether the test list has labels.
    """
    for split in ("train", "validate", "test"):
        labeled = test_labels or split != "test"
        header = ["label"] * labeled
        header += ["youtube_id", "time_start", "time_end", "split"] + ["is_cc"] * is_cc
        rows = [header]
        for label, *rest, of in KINETICS:
            if of == split:
                rows.append([label] * labeled + [*rest, of] + [0] * is_cc)
        lines = [delimiter.join(map(str, row)) for row in rows]
        text(root / f"{split}{suffix}", lines)
    for seed, (label, video_id, start, end, split) in enumerate(KINETICS):
        if not video_id.startswith("gone"):
            place = root / layout.format(split=split, label=label)
            video(place / f"{video_id}_{start:06}_{end:06}.mp4", seed)


BAIR_FRAMES = 30


def bair_video(seed: int) -> np.ndarray:
    """`[30, 64, 64, 3]` uint8: noise, which only what is lossless keeps."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (BAIR_FRAMES, 64, 64, 3), np.uint8)


def bair_record(seed: int) -> bytes:
    """A record with all that softmotion's have; the main view is the other way up."""
    features = {}
    for t, frame in enumerate(bair_video(seed)):
        for view, image in (("main", frame[::-1]), ("aux1", frame)):
            features[f"{t}/image_{view}/encoded"] = tf.train.Feature(
                bytes_list=tf.train.BytesList(value=[image.tobytes()])
            )
        for name, size in (("action", 4), ("endeffector_pos", 3)):
            values = tf.train.FloatList(value=[0.1 * t] * size)
            features[f"{t}/{name}"] = tf.train.Feature(float_list=values)
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString()


def bair(root: pathlib.Path, train: int = 3, test: int = 2) -> None:
    """BAIR: training clips two in a file; seeds count through the files."""
    seed = 0
    for split, count in (("train", train), ("test", test)):
        folder = root / "softmotion30_44k" / split
        folder.mkdir(parents=True)
        for first in range(0, count, 2):
            last = min(first + 2, count) - 1
            path = folder / f"traj_{first}_to_{last}.tfrecords"
            with tf.io.TFRecordWriter(str(path)) as writer:
                for _ in range(first, last + 1):
                    writer.write(bair_record(seed))
                    seed += 1


JESTER_FRAMES = 11  # so that 10.jpg and 2.jpg have an order


def jester(root: pathlib.Path) -> None:
    """Jester with three classes; numbers of frames as the data set writes them."""
    text(
        root / "jester-v1-labels.csv",
        ["Swiping Left", "No gesture", "Doing other things"],
    )
    text(root / "jester-v1-train.csv", ["34870;No gesture", "7;Swiping Left"])
    text(root / "jester-v1-validation.csv", ["118562;Doing other things"])
    text(root / "jester-v1-test.csv", ["42"])
    for seed, clip in enumerate(("34870", "7", "118562", "42")):
        folder = root / "20bn-jester-v1" / clip
        folder.mkdir(parents=True)
        for number, frame in enumerate(frames(seed, JESTER_FRAMES), 1):
            # The second clip's numbers have no zeros before them.
            name = f"{number}.jpg" if clip == "7" else f"{number:05}.jpg"
            cv2.imwrite(str(folder / name), frame[:, :, ::-1])


WEIZMANN = ["daria_bend", "daria_wave1", "daria_wave2", "lena_run1", "lena_run2"]
WEIZMANN += ["lena_skip1", "lena_skip2", "lena_walk1", "lena_walk2", "lena_wave1"]
WEIZMANN += ["shahar_pjump", "ido_jack", "eli_jump", "moshe_side"]


def weizmann(root: pathlib.Path, nested: bool = False) -> None:
    """Weizmann's actions, all ten; in a folder for each file's name, or flat."""
    for seed, name in enumerate(WEIZMANN):
        folder = root / name.split("_")[1] if nested else root
        video(folder / f"{name}.avi", seed)


TINYVIDEO = {"golf/a/1.jpg": 34, "golf/a/2.jpg": 16, "golf/b/3.jpg": 32}


def tinyvideo(root: pathlib.Path, listing: str = "golf.txt") -> None:
    """VGAN's: JPEGs of 34, 16 and 32 frames of 128 pixels above one another."""
    text(root / listing, TINYVIDEO)
    for seed, (path, count) in enumerate(TINYVIDEO.items()):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        stack = frames(seed, count, (128, 128)).reshape(-1, 128, 3)
        cv2.imwrite(str(root / path), stack[:, :, ::-1])


def scene(seed, count=24, size=(96, 128)):
    """A picture of soft shapes that the camera moves over."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, [7, 9, 3], np.uint8)
    large = cv2.resize(
        small, (size[1] + 2 * count, size[0] + count), interpolation=cv2.INTER_CUBIC
    )
    return np.stack(
        [large[t : t + size[0], 2 * t : 2 * t + size[1]] for t in range(count)]
    )
