"""Shows what lies between two samples, or what a part of the latent means.

  python -m tools.interpolate --model_dir=RUN --output=FOLDER --classes=Punch
  python -m tools.interpolate --saved_model=RUN/export/2000 --output=FOLDER
    --between=classes --classes=Punch,Biking --num_rows=3
  python -m tools.interpolate --model_dir=RUN --output=FOLDER --resample=A,B,C

Between latents, within a class; between classes, by their embeddings, with one latent;
or both at once: straight lines, as in the papers (001, figures 15 and 16; 003, figures
8 to 11). `--resample` freezes all subspaces of MVT-GAN's latent but one and draws that
one again (003, figure 12). As PNG each video is a column and time runs down; as GIF and
MP4 each row moves. The same seed gives the same videos, and stands in the file.
"""

from absl import flags

from tf_dvdgan import cli, errors

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_generator()
    cli.define_pictures("png")
    flags.DEFINE_enum(
        "between", "latents", ["latents", "classes", "both"], "What changes."
    )
    flags.DEFINE_list(
        "classes",
        None,
        "Names or numbers: the class, or from which to which. By default the first.",
    )
    flags.DEFINE_list("resample", None, "Subspaces, A to C, each drawn again in a row.")
    flags.DEFINE_integer("num_rows", 1, "How many interpolations.", lower_bound=1)
    flags.DEFINE_integer("num_steps", 8, "Videos in each.", lower_bound=2)
    flags.DEFINE_float(
        "truncation", 1.0, "Factor of the latents.", lower_bound=0.0, upper_bound=1.0
    )
    flags.DEFINE_integer("seed", 0, "Of the latents.")


def main(argv: list[str]) -> None:
    del argv
    import numpy as np

    from tf_dvdgan import generators, visualize
    from tf_dvdgan.data import files

    if FLAGS.resample and FLAGS["between"].present:
        raise errors.UserError("--between and --resample are two things: name one.")
    files.check_writable(FLAGS.output, as_folder=True)
    generator = generators.open_generator(
        FLAGS.model_dir, FLAGS.step, FLAGS.saved_model
    )
    if generator.num_conditioning_frames:
        raise errors.UserError(
            f"{generator.name} starts from frames; python -m tools.predict continues a "
            "video with it."
        )
    labels = _labels(generator)
    make = _resampled if FLAGS.resample else _between
    z, weights, captions = (np.concatenate(p) for p in make(generator, labels))
    videos = generator.videos(z, weights, FLAGS.truncation)
    if FLAGS.format == "png":
        frames = visualize.columns(videos, captions, FLAGS.num_steps)[np.newaxis]
    else:
        videos = visualize.captioned(videos, captions)
        frames = visualize.grid(videos, FLAGS.num_steps)
    facts = generator.facts | {
        "resample" if FLAGS.resample else "between": FLAGS.resample or FLAGS.between,
        "classes": [generator.class_names[label] for label in labels],
        "truncation": FLAGS.truncation,
        "seed": FLAGS.seed,
        "num_rows": FLAGS.num_rows,
        "num_steps": FLAGS.num_steps,
    }
    name = "resampled" if FLAGS.resample else "interpolation"
    path = visualize.write_one(
        FLAGS.output, f"{name}.{FLAGS.format}", frames, FLAGS.fps, facts
    )
    print(f"{len(videos)} videos of {generator.name}: {path}")


def _labels(generator) -> list[int]:
    """Numbers of the class, or of the two classes, that are shown."""
    wanted = 2 if FLAGS.between != "latents" else 1
    if wanted > len(generator.class_names):
        raise errors.UserError(
            f"{generator.name} knows no classes to go between; --between=latents."
        )
    if FLAGS.classes is None:
        return list(range(wanted))
    if len(FLAGS.classes) != wanted:
        raise errors.UserError(
            f"--classes names {wanted} here, with a comma between two; there are "
            f"{len(FLAGS.classes)}."
        )
    return [generator.label_of(name) for name in FLAGS.classes]


def _between(generator, labels: list[int]):
    """Latents, class weights and captions of each row, from one end to the other."""
    import numpy as np

    from tf_dvdgan import sampling

    rows, steps = FLAGS.num_rows, FLAGS.num_steps
    z = sampling.latents(generator.latent, 2 * rows, FLAGS.seed).numpy()
    start, end = z[0::2], z[1::2]
    z = sampling.interpolate(start, start if FLAGS.between == "classes" else end, steps)
    one_hot = np.eye(len(generator.class_names), dtype=np.float32)
    ends = one_hot[labels[:1]], one_hot[labels[-1:]]
    weights = np.repeat(sampling.interpolate(*ends, steps), rows, axis=0)
    names = [generator.class_names[label] for label in labels]
    shares = [f"{i / (steps - 1):.2f}" for i in range(steps)]
    captions = [names[0], *shares[1:-1], names[-1]]
    return z, weights, [captions] * rows


def _resampled(generator, labels: list[int]):
    """The same, of each row a sample and others that differ in one subspace."""
    import numpy as np

    from tf_dvdgan import sampling

    subspaces = sampling.subspaces(generator.latent)
    if not subspaces:
        raise errors.UserError(
            f"The latent of {generator.name} has no subspaces; --resample is for "
            "models like MVT-GAN."
        )
    for name in FLAGS.resample:
        if name not in subspaces:
            raise errors.UserError(
                f"The latent has no subspace {name!r}; it has {', '.join(subspaces)}."
            )
    rows, steps = FLAGS.num_rows, FLAGS.num_steps
    z = sampling.latents(generator.latent, rows * steps, FLAGS.seed).numpy()
    z = z.reshape(rows, steps, -1)
    made = [
        sampling.resample(z[:, 0], z[:, 1:], subspaces[name]) for name in FLAGS.resample
    ]  # of each subspace `[rows, steps, size]`
    one_hot = np.eye(len(generator.class_names), dtype=np.float32)
    weights = np.tile(one_hot[labels[0]], [rows * len(made), steps, 1])
    original = generator.class_names[labels[0]]
    captions = [[original] + [f"new {name}"] * (steps - 1) for name in FLAGS.resample]
    return np.stack(made, axis=1).reshape(-1, *z.shape[1:]), weights, captions * rows


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
