"""Continues a video with a trained frame-prediction model.

  python -m tools.predict --model_dir=RUN --video=FILE --output=FOLDER --num_samples=4
  python -m tools.predict --saved_model=RUN/export/2000 --video=FILE --output=FOLDER

Takes as many frames of the video as the model starts from (1, 5, ...), with the stride
of its training, from --start_frame on; the video is resized and its centre cropped as
in evaluation. Writes one file for each sample, the given frames first, and a grid;
the same seed gives the same samples, and stands in the files.
"""

import os

from absl import flags

from tf_dvdgan import cli, errors

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_generator()
    cli.define_pictures()
    flags.DEFINE_string("video", None, "File to continue.", required=True)
    flags.DEFINE_integer("num_samples", 4, "How many continuations.", lower_bound=1)
    flags.DEFINE_integer("start_frame", 0, "First frame that is taken.", lower_bound=0)
    flags.DEFINE_float(
        "truncation", 1.0, "Factor of the latents.", lower_bound=0.0, upper_bound=1.0
    )
    flags.DEFINE_integer("seed", 0, "Of the latents.")


def main(argv: list[str]) -> None:
    del argv
    import numpy as np

    from tf_dvdgan import generators, sampling, visualize
    from tf_dvdgan.data import clip_files, files

    files.check_writable(FLAGS.output, as_folder=True)
    generator = generators.open_generator(
        FLAGS.model_dir, FLAGS.step, FLAGS.saved_model
    )
    num_frames = generator.num_conditioning_frames
    if not num_frames:
        raise errors.UserError(
            f"The model in {FLAGS.model_dir or FLAGS.saved_model!r} does not start "
            "from frames; python -m tools.sample makes videos with it."
        )
    frames = clip_files.read_frames(
        FLAGS.video,
        num_frames,
        generator.stride,
        FLAGS.start_frame,
        generator.resolution,
    )
    count = FLAGS.num_samples
    z = sampling.latents(generator.latent, count, FLAGS.seed)
    given = np.repeat(frames[np.newaxis], count, axis=0)
    videos = generator.videos(z, [0] * count, FLAGS.truncation, given)
    known = generator.facts | {
        "video": os.path.basename(FLAGS.video),
        "start_frame": FLAGS.start_frame,
        "truncation": FLAGS.truncation,
        "seed": FLAGS.seed,
    }
    facts = [known | {"index": i} for i in range(count)]
    stems = [f"{i:04}" for i in range(count)]
    path = visualize.write(FLAGS.output, videos, stems, FLAGS.format, FLAGS.fps, facts)
    print(f"{count} continuations of {num_frames} frames: {path}")


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
