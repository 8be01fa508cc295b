"""Makes videos with a trained model.

  python -m tools.sample --model_dir=RUN --output=FOLDER --num_videos=16

Each video becomes a file named after its number and class, and all of them one grid.
The weights are the run's moving average; normalisation uses standing statistics, made
for the truncation asked for. The same seed gives the same videos.
"""

from absl import flags

from tf_dvdgan import cli

FLAGS = flags.FLAGS

_STANDING_BATCHES = 16
_BATCH_SIZE = 32


def define_flags() -> None:
    flags.DEFINE_string("model_dir", None, "The run's folder.", required=True)
    flags.DEFINE_string("output", None, "Folder to write to.", required=True)
    flags.DEFINE_integer("num_videos", 16, "How many.", lower_bound=1)
    flags.DEFINE_string(
        "class_name", None, "Name or number of the class; by default all in turn."
    )
    flags.DEFINE_float(
        "truncation",
        1.0,
        "Factor of the latents: below 1 less diverse, nearer the mean.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_enum("format", "gif", ["gif", "mp4", "png"], "Of the files.")
    flags.DEFINE_integer("seed", 0, "Of the latents.")
    cli.define_step()
    flags.DEFINE_string(
        "data_dir",
        None,
        "Shards whose clips an autoencoder's samples are drawn like, or that a model "
        "which starts from frames continues; by default a few that the run kept.",
    )
    flags.DEFINE_float("fps", 8.0, "Frames per second of GIF and MP4.", lower_bound=1)


def main(argv: list[str]) -> None:
    del argv
    import tensorflow as tf

    from tf_dvdgan import sampling, trained, visualize
    from tf_dvdgan.data import files
    from tf_dvdgan.training import standing_statistics

    files.ready(FLAGS.output, writing=True)
    model = trained.load(FLAGS.model_dir, FLAGS.step)
    names = model.class_names
    count = FLAGS.num_videos
    if FLAGS.class_name is None:
        labels = [
            i * len(names) // count if count > len(names) else i % len(names)
            for i in range(count)
        ]
    else:
        labels = [model.label_of(FLAGS.class_name)] * count
    gan = model.gan
    accumulator = standing_statistics.StandingStatistics(gan, _BATCH_SIZE)
    accumulator.accumulate(_STANDING_BATCHES, FLAGS.truncation)
    z = sampling.latents(gan.latent, count, FLAGS.seed, FLAGS.truncation)
    if FLAGS.data_dir and gan.generator.num_conditioning_frames:
        gan.frame_bank = sampling.read_frames(gan, FLAGS.data_dir, model.window)
    if hasattr(gan.generator, "encode"):
        videos, components = sampling.from_mixture(gan, count, FLAGS.seed)
        print(f"Codes drawn from a mixture of {components} components")
    else:
        conditioning = gan.conditioning_from_bank(tf.constant(labels, tf.int32))
        videos = sampling.generate(gan, z, conditioning)["videos"]
    shown = [names[label] for label in labels]
    stems = [f"{i:04}_{cli.safe_name(name)[:50]}" for i, name in enumerate(shown)]
    path = visualize.write(
        FLAGS.output, videos, stems, FLAGS.format, FLAGS.fps, names=shown
    )
    print(f"{count} videos of step {model.step}: {path}")


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
