"""The schema of a record, which is one video clip; only this module depends on it.

A record is a `tf.train.SequenceExample`: the context describes the clip, the feature
list "frames" holds its frames as JPEG or PNG files.
"""

from collections.abc import Sequence

import tensorflow as tf

_CONTEXT = {
    "video_id": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
    "class_name": tf.io.FixedLenFeature([], tf.string),
    "fps": tf.io.FixedLenFeature([], tf.float32),
    "height": tf.io.FixedLenFeature([], tf.int64),
    "width": tf.io.FixedLenFeature([], tf.int64),
    "num_frames": tf.io.FixedLenFeature([], tf.int64),
    "source": tf.io.FixedLenFeature([], tf.string),
}
_FRAMES = "frames"


def serialize(
    frames: Sequence[bytes],
    *,
    video_id: str,
    label: int,
    class_name: str,
    fps: float,
    height: int,
    width: int,
    source: str,
) -> bytes:
    """Serializes a clip as a record.

    Args:
      frames: encoded frames, each a JPEG or PNG file.
      video_id: unique in the data set.
      label: class number, from 0.
      class_name: name of the class.
      fps: frames per second of the clip.
      height: height of the frames, in pixels.
      width: width of the frames, in pixels.
      source: path of the clip's source file, relative to the input folder.

    Returns:
      The serialized record.
    """
    context = {
        "video_id": _bytes(_encode(video_id)),
        "label": _integer(label),
        "class_name": _bytes(_encode(class_name)),
        "fps": tf.train.Feature(float_list=tf.train.FloatList(value=[fps])),
        "height": _integer(height),
        "width": _integer(width),
        "num_frames": _integer(len(frames)),
        "source": _bytes(_encode(source)),
    }
    example = tf.train.SequenceExample(
        context=tf.train.Features(feature=context),
        feature_lists=tf.train.FeatureLists(
            feature_list={
                _FRAMES: tf.train.FeatureList(feature=[_bytes(f) for f in frames])
            }
        ),
    )
    return example.SerializeToString(deterministic=True)


def parse(serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Parses a record; can run in a graph.

    Args:
      serialized: scalar string.

    Returns:
      The context's values by name, and the encoded frames, `[num_frames]` strings.
    """
    context, lists = tf.io.parse_single_sequence_example(
        serialized,
        context_features=_CONTEXT,
        sequence_features={_FRAMES: tf.io.FixedLenSequenceFeature([], tf.string)},
    )
    return context, lists[_FRAMES]


def _encode(name: str) -> bytes:
    """Encodes a name; names of files need not be valid UTF-8."""
    return name.encode("utf-8", "surrogateescape")


def label_of(serialized: tf.Tensor) -> tf.Tensor:
    """Parses only a record's label, int64."""
    context, _ = tf.io.parse_single_sequence_example(
        serialized, context_features={"label": _CONTEXT["label"]}
    )
    return context["label"]


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _integer(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
