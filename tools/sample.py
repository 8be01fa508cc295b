"""Makes videos with a trained model.

  python -m tools.sample --model_dir=RUN --output=FOLDER --num_videos=16
  python -m tools.sample --saved_model=RUN/export/2000 --output=FOLDER
  python -m tools.sample --model_dir=RUN --output=FOLDER --truncation=0.2,0.5,1

Writes a file for each video, named after its number and class, and a grid of all videos
with the classes' names. Several truncations show the same latents side by side. The
weights are the run's moving average; normalization uses standing statistics, computed
for each truncation. The same seed gives the same videos. Each file carries what it was
made of as JSON in its metadata (PNG's text, GIF's comment, MP4's comment and
description).

Pictures as in the papers: --beside=RUN,RUN shows several runs' videos of the same
classes side by side (003, figures 1 and 13), --streams VGAN's two streams and mask
(004, figure 3), --panel=first_frames the first frames of many videos (001, figures 4
and 10 to 14), --panel=raster a video's frames row by row (001, figure 5).
"""

from absl import flags

from tf_dvdgan import cli, errors
from tf_dvdgan.data import files

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_generator()
    cli.define_pictures()
    flags.DEFINE_integer("num_videos", 16, "How many.", lower_bound=1)
    flags.DEFINE_string(
        "class_name", None, "Name or number of the class; by default all in turn."
    )
    flags.DEFINE_list(
        "truncation",
        ["1"],
        "Factor of the latents, or several; below 1 videos are less diverse.",
    )
    flags.register_validator(
        "truncation", cli.are_truncations, message="it is numbers from 0 to 1"
    )
    flags.DEFINE_integer("seed", 0, "Of the latents.")
    flags.DEFINE_string(
        "data_dir",
        None,
        "Shards whose clips a model that starts from frames continues, or that an "
        "autoencoder's samples resemble; by default frames that the run kept.",
    )
    flags.DEFINE_list("beside", [], "Other runs, shown beside the first one.")
    flags.DEFINE_bool("streams", False, "Show VGAN's streams and mask.")
    flags.DEFINE_enum(
        "panel",
        None,
        ["first_frames", "raster"],
        "One picture and no other files: the first frames of all videos, or all frames "
        "of each, row by row.",
    )


def main(argv: list[str]) -> None:
    del argv
    from tf_dvdgan import generators, pictures

    if FLAGS.saved_model and FLAGS.streams:
        raise errors.UserError(
            "A SavedModel makes only whole videos: --streams is for --model_dir."
        )
    files.check_writable(FLAGS.output, as_folder=True)
    generator = generators.open_generator(
        FLAGS.model_dir, FLAGS.step, FLAGS.saved_model
    )
    samples = pictures.Samples(
        FLAGS.num_videos,
        FLAGS.class_name,
        [float(text) for text in FLAGS.truncation],
        FLAGS.seed,
        FLAGS.data_dir,
    )
    path = pictures.write_samples(
        generator,
        samples,
        pictures.Style(FLAGS.output, FLAGS.format, FLAGS.fps),
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
