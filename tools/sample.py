"""Makes videos with a trained model.

  python -m tools.sample --model_dir=RUN --output=FOLDER --num_videos=16
  python -m tools.sample --saved_model=RUN/export/2000 --output=FOLDER
  python -m tools.sample --model_dir=RUN --output=FOLDER --truncation=0.2,0.5,1

Each video becomes a file named after its number and class, and all of them one grid
with the classes' names. Several truncations show the same latents side by side. The
weights are the run's moving average; normalisation uses standing statistics, made for
each truncation. The same seed gives the same videos; what made a file stands in its
metadata (PNG's text, GIF's comment, MP4's comment and description) as JSON.
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
        "Factor of the latents, or several: below 1 less diverse, nearer the mean.",
    )
    flags.register_validator(
        "truncation", cli.are_truncations, message="it is numbers from 0 to 1"
    )
    flags.DEFINE_integer("seed", 0, "Of the latents.")
    flags.DEFINE_string(
        "data_dir",
        None,
        "Shards whose clips an autoencoder's samples are drawn like, or that a model "
        "which starts from frames continues; by default a few that the run kept.",
    )


def main(argv: list[str]) -> None:
    del argv
    import numpy as np

    from tf_dvdgan import generators, sampling, visualize

    files.check_writable(FLAGS.output, as_folder=True)
    generator = generators.open_generator(
        FLAGS.model_dir, FLAGS.step, FLAGS.saved_model
    )
    count, names = FLAGS.num_videos, generator.class_names
    if FLAGS.class_name is None:
        labels = [
            i * len(names) // count if count > len(names) else i % len(names)
            for i in range(count)
        ]
    else:
        labels = [generator.label_of(FLAGS.class_name)] * count
    frames = _frames(generator)
    truncations = [float(text) for text in FLAGS.truncation]
    if generator.is_autoencoder and FLAGS.model_dir:
        if truncations != [1.0]:
            raise errors.UserError("An autoencoder's samples have no truncation.")
        made = [_from_mixture(generator, frames)]
    else:
        z = sampling.latents(generator.latent, count, FLAGS.seed)
        if frames is not None:
            frames = frames[np.arange(count) % len(frames)]
        made = [generator.videos(z, labels, t, frames) for t in truncations]
    videos = np.stack(made, axis=1).reshape(-1, *made[0].shape[1:])
    facts = [
        generator.facts
        | {"seed": FLAGS.seed, "truncation": t, "class": names[label], "index": i}
        for i, label in enumerate(labels)
        for t in truncations
    ]
    several = len(truncations) > 1
    path = visualize.write(
        FLAGS.output,
        videos,
        [_stem(known, several) for known in facts],
        FLAGS.format,
        FLAGS.fps,
        facts,
        [known["class"] for known in facts],
        [f"truncation {t:g}" for t in truncations] if several else (),
    )
    print(f"{len(videos)} videos of {generator.name}: {path}")


def _frames(generator):
    """First frames of the shards' clips, uint8, where the model wants and gets some."""
    from tf_dvdgan.evaluation import sources

    if not FLAGS.data_dir:
        return None
    if not generator.num_conditioning_frames:
        raise errors.UserError("The model starts from no frames; omit --data_dir.")
    clips = sources.Prepared(
        FLAGS.data_dir,
        generator.window,
        "train",
        None if generator.is_autoencoder else FLAGS.num_videos,
    )
    return sources.first_frames(clips, generator.num_conditioning_frames)


def _from_mixture(generator, frames):
    """An autoencoder's samples: of codes like those of its frames, kept or read."""
    if frames is not None:
        generator.gan.frame_bank = frames
    videos, components = generator.from_mixture(FLAGS.num_videos, FLAGS.seed)
    print(f"Codes drawn from a mixture of {components} components")
    return videos


def _stem(known: dict, several: bool) -> str:
    stem = f"{known['index']:04}_{files.safe_name(known['class'])[:50]}"
    return f"{stem}_{known['truncation']:g}" if several else stem


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
