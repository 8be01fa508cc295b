"""The schema of a record, which is one video clip; only this module depends on it.

A record is a `tf.train.SequenceExample`: the context describes the clip, the feature
list "frames" holds its frames as JPEG or PNG files.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tf_dvdgan.data import video_io

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
_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"  # width and height follow
_PNG_WORDS = np.frombuffer(_PNG_START, ">i4").astype(np.int32)


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


def frame_sizes(frames: tf.Tensor) -> tf.Tensor:
    """Reads the sizes of encoded frames from their headers; can run in a graph.

    Args:
      frames: `[frames]` strings, of static shape.

    Returns:
      `[frames, 2]` int32 height and width; -1 if a frame is neither JPEG nor PNG.

    Raises:
      InvalidArgumentError: a frame starts like a JPEG file, but has no valid header.
    """
    starts = tf.strings.substr(frames, 0, 24)
    words = tf.io.decode_raw(starts, tf.int32, False, fixed_length=24)
    is_png = tf.reduce_all(words[:, :4] == _PNG_WORDS, axis=1, keepdims=True)
    of_png = tf.where(is_png, tf.reverse(words[:, 4:], [1]), -1)

    def with_jpeg() -> tf.Tensor:
        def size(frame: tf.Tensor, otherwise: tf.Tensor) -> tf.Tensor:
            return tf.cond(
                tf.io.is_jpeg(frame),
                lambda: tf.io.extract_jpeg_shape(frame)[:2],
                lambda: otherwise,
            )

        pairs = zip(tf.unstack(frames), tf.unstack(of_png), strict=True)
        return tf.stack([size(*pair) for pair in pairs])

    return tf.cond(tf.reduce_all(is_png), lambda: of_png, with_jpeg)


def fits(context: Mapping[str, tf.Tensor], sizes: tf.Tensor) -> tf.Tensor:
    """Whether frames have the size that their record declares, and may have it.

    Decoding would allocate any size that a frame's header declares.

    Args:
      context: the record's context.
      sizes: `[frames, 2]` int32 of `frame_sizes`.

    Returns:
      A bool scalar.
    """
    declared = tf.stack([context["height"], context["width"]])
    # Sides that equal an int32 have no product over int64.
    return (
        tf.reduce_all(tf.cast(sizes, tf.int64) == declared)
        & tf.reduce_all(declared > 0)
        & (tf.reduce_prod(declared) <= video_io.MAX_PIXELS)
    )


def _encode(name: str) -> bytes:
    """Encodes a name; names of files need not be valid UTF-8."""
    return name.encode("utf-8", "surrogateescape")


def label_of(serialized: tf.Tensor) -> tf.Tensor:
    """Parses only the label, a scalar int64, of a record, a scalar string."""
    context, _ = tf.io.parse_single_sequence_example(
        serialized, context_features={"label": _CONTEXT["label"]}
    )
    return context["label"]


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _integer(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
