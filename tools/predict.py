"""Continues a video with a trained frame-prediction model.

  python -m tools.predict --model_dir=RUN --video=FILE --output=FOLDER --num_samples=4
  python -m tools.predict --saved_model=RUN/export/2000 --video=FILE --output=FOLDER

Reads the model's conditioning frames from the video, from --start_frame on, at the
stride of its training, resized and cropped as in evaluation. Writes a file per sample,
which begins with the conditioning frames, and a grid. The same seed generates the same
samples; it is in the files' metadata.
"""

from absl import flags

from tf_dvdgan import cli

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_generator()
    cli.define_pictures()
    flags.DEFINE_string("video", None, "Video file to continue.", required=True)
    flags.DEFINE_integer("num_samples", 4, "Number of continuations.", lower_bound=1)
    flags.DEFINE_integer("start_frame", 0, "First conditioning frame.", lower_bound=0)
    flags.DEFINE_float(
        "truncation", 1.0, "Factor of the latents.", lower_bound=0.0, upper_bound=1.0
    )
    flags.DEFINE_integer("seed", 0, "Seed of the latents.")


def main(argv: list[str]) -> None:
    del argv
    from tf_dvdgan import generators, visualize
    from tf_dvdgan.pictures import predictions

    style = visualize.Style(FLAGS.output, FLAGS.format, FLAGS.fps)
    generator = generators.open_generator(**cli.generator_flags())
    path = predictions.write_predictions(
        generator,
        FLAGS.video,
        style,
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
