"""Continues a video with a trained frame-prediction model.

  python -m tools.predict --model_dir=RUN --video=FILE --output=FOLDER --num_samples=4
  python -m tools.predict --saved_model=RUN/export/2000 --video=FILE --output=FOLDER

Takes as many frames of the video as the model starts from (1, 5, ...), at the stride of
its training, from --start_frame on. The video is resized and its centre cropped as in
evaluation. Writes one file for each sample, the given frames first, and a grid. The
same seed gives the same samples; the files' metadata have it.
"""

from absl import flags

from tf_dvdgan import cli
from tf_dvdgan.data import files

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_generator()
    cli.define_pictures()
    flags.DEFINE_string("video", None, "File to continue.", required=True)
    flags.DEFINE_integer("num_samples", 4, "How many continuations.", lower_bound=1)
    flags.DEFINE_integer("start_frame", 0, "First frame to take.", lower_bound=0)
    flags.DEFINE_float(
        "truncation", 1.0, "Factor of the latents.", lower_bound=0.0, upper_bound=1.0
    )
    flags.DEFINE_integer("seed", 0, "Of the latents.")


def main(argv: list[str]) -> None:
    del argv
    from tf_dvdgan import generators, pictures

    files.check_writable(FLAGS.output, as_folder=True)
    generator = generators.open_generator(
        FLAGS.model_dir, FLAGS.step, FLAGS.saved_model
    )
    path = pictures.write_predictions(
        generator,
        FLAGS.video,
        pictures.Style(FLAGS.output, FLAGS.format, FLAGS.fps),
        count=FLAGS.num_samples,
        start_frame=FLAGS.start_frame,
        truncation=FLAGS.truncation,
        seed=FLAGS.seed,
    )
    given = generator.num_conditioning_frames
    print(f"{FLAGS.num_samples} continuations of {given} frames: {path}")


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
