"""Continues a video with a trained frame-prediction model.

  python -m tools.predict --model_dir=RUN --video=FILE --output=FOLDER --num_samples=4

Takes as many frames of the video as the model starts from (1, 5, ...), with the stride
of its training, from --start_frame on; the video is resized and its centre cropped as
in evaluation. Writes one file for each sample, the given frames first, and a grid.
"""

import itertools

from absl import flags

from tf_dvdgan import cli

FLAGS = flags.FLAGS

_STANDING_BATCHES = 16
_BATCH_SIZE = 32


def define_flags() -> None:
    flags.DEFINE_string("model_dir", None, "The run's folder.", required=True)
    flags.DEFINE_string("video", None, "File to continue.", required=True)
    flags.DEFINE_string("output", None, "Folder to write to.", required=True)
    flags.DEFINE_integer("num_samples", 4, "How many continuations.", lower_bound=1)
    flags.DEFINE_integer("start_frame", 0, "First frame that is taken.", lower_bound=0)
    flags.DEFINE_float(
        "truncation", 1.0, "Factor of the latents.", lower_bound=0.0, upper_bound=1.0
    )
    flags.DEFINE_enum("format", "gif", ["gif", "mp4", "png"], "Of the files.")
    flags.DEFINE_integer("seed", 0, "Of the latents.")
    cli.define_step()
    flags.DEFINE_float("fps", 8.0, "Frames per second of GIF and MP4.", lower_bound=1)


def main(argv: list[str]) -> None:
    del argv
    import numpy as np
    import tensorflow as tf

    from tf_dvdgan import sampling, trained, visualize
    from tf_dvdgan.data import files, transforms
    from tf_dvdgan.training import standing_statistics

    files.ready(FLAGS.output, writing=True)
    model = trained.load(FLAGS.model_dir, FLAGS.step)
    generator, gan = model.gan.generator, model.gan
    num_frames = generator.num_conditioning_frames
    if not num_frames:
        raise cli.UserError(
            f"The model in {FLAGS.model_dir!r} does not start from frames; "
            "python -m tools.sample makes videos with it."
        )
    frames = read_frames(
        FLAGS.video,
        num_frames,
        model.window.stride,
        FLAGS.start_frame,
        generator.resolution,
    )
    count = FLAGS.num_samples
    accumulator = standing_statistics.StandingStatistics(gan, _BATCH_SIZE)
    accumulator.accumulate(_STANDING_BATCHES, FLAGS.truncation)
    z = sampling.latents(gan.latent, count, FLAGS.seed, FLAGS.truncation)
    given = tf.repeat(transforms.to_unit_range(frames[np.newaxis]), count, axis=0)
    conditioning = gan.conditioning(tf.zeros([count], tf.int32), given)
    videos = sampling.generate(gan, z, conditioning)["videos"]
    stems = [f"{i:04}" for i in range(count)]
    path = visualize.write(FLAGS.output, videos, stems, FLAGS.format, FLAGS.fps)
    print(f"{count} continuations of {num_frames} frames: {path}")


def read_frames(path: str, count: int, stride: int, start: int, resolution: int):
    """Reads the frames to start from, resized and cropped as in evaluation.

    Returns:
      `[count, resolution, resolution, 3]` uint8.

    Raises:
      UserError: the file is no video, or too short.
    """
    import numpy as np

    from tf_dvdgan.data import files, video_io

    end = start + (count - 1) * stride + 1
    try:
        with files.local(path) as file:
            reader = video_io.VideoReader(file)
            taken = list(itertools.islice(reader, start, end, stride))
    except video_io.VideoError as error:
        raise cli.UserError(f"{path} cannot be used: {error}.") from None
    if len(taken) < count:
        raise cli.UserError(
            f"{path} is too short: the model starts from {count} frames, each "
            f"{stride} apart, from frame {start} on."
        )
    frames = np.stack([video_io.resize_smallest_side(f, resolution) for f in taken])
    top, left = ((side - resolution) // 2 for side in frames.shape[1:3])
    return frames[:, top : top + resolution, left : left + resolution]


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
