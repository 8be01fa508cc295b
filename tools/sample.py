"""Generates videos with a trained model.

  python -m tools.sample --model_dir=RUN --output=FOLDER --num_videos=16
  python -m tools.sample --saved_model=RUN/export/2000 --output=FOLDER
  python -m tools.sample --model_dir=RUN --output=FOLDER --truncation=0.2,0.5,1

Writes a file per video, named after its number and class, and a grid of all videos with
the class names. With several truncations the grid shows the same latents side by side.
Uses the moving average of the run's weights, and standing statistics computed for each
truncation. The same seed generates the same videos. Each file's metadata holds the
model, seed and class as JSON (PNG text, GIF comment, MP4 comment and description).

Figures like those of the papers: --beside=RUN,RUN shows several runs' videos of the
same classes side by side (003, figures 1 and 13), --streams shows VGAN's two streams
and mask (004, figure 3), --panel=first_frames the first frames of many videos (001,
figures 4 and 10 to 14), --panel=raster a video's frames row by row (001, figure 5).
"""

from absl import flags

from tf_dvdgan import cli

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_generator()
    cli.define_pictures()
    flags.DEFINE_integer("num_videos", 16, "Number of videos.", lower_bound=1)
    flags.DEFINE_string(
        "class_name", None, "Name or number of the class; by default all, in turn."
    )
    flags.DEFINE_list(
        "truncation",
        ["1"],
        "Factors of the latents, from 0 to 1; lower ones make videos less diverse.",
    )
    flags.register_validator(
        "truncation", cli.are_truncations, message="it must be numbers from 0 to 1"
    )
    flags.DEFINE_integer("seed", 0, "Seed of the latents.")
    flags.DEFINE_string(
        "data_dir",
        None,
        "Shards of clips that a prediction model continues, or that an autoencoder's "
        "samples resemble; by default the frames stored with the run.",
    )
    flags.DEFINE_list("beside", [], "Folders of other runs to show beside this one.")
    flags.DEFINE_bool("streams", False, "Show VGAN's streams and mask.")
    flags.DEFINE_enum(
        "panel",
        None,
        ["first_frames", "raster"],
        "Write only one picture: the first frames of all videos, or all frames of each "
        "video, row by row.",
    )


def main(argv: list[str]) -> None:
    del argv
    from tf_dvdgan import generators, visualize
    from tf_dvdgan.pictures import samples

    style = visualize.Style(FLAGS.output, FLAGS.format, FLAGS.fps)
    generator = generators.open_generator(**cli.generator_flags())
    sampled = samples.Samples(
        FLAGS.num_videos,
        FLAGS.class_name,
        cli.numbers("truncation"),
        FLAGS.seed,
        FLAGS.data_dir,
    )
    path = samples.write_samples(
        generator,
        sampled,
        style,
        beside=[generators.open_generator(run, FLAGS.step) for run in FLAGS.beside],
        streams=FLAGS.streams,
        panel=FLAGS.panel,
    )
    print(f"Samples of {generator.name}: {path}")


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
