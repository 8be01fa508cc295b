"""Interpolates between samples, or shows the effect of a part of the latent.

  python -m tools.interpolate --model_dir=RUN --output=FOLDER --classes=Punch
  python -m tools.interpolate --saved_model=RUN/export/2000 --output=FOLDER
    --between=classes --classes=Punch,Biking --num_rows=3
  python -m tools.interpolate --model_dir=RUN --output=FOLDER --resample=A,B,C

Interpolates linearly between latents of one class, between the embeddings of classes
with one latent, or both at once (001, figures 15 and 16; 003, figures 8 to 11).
`--resample` freezes all subspaces of MVT-GAN's latent except one, which is resampled
(003, figure 12). In a PNG each video is a column and time runs down; in a GIF or MP4
each row of videos plays. The same seed generates the same videos; it is in the file's
metadata.
"""

from absl import flags

from tf_dvdgan import cli

FLAGS = flags.FLAGS


def define_flags() -> None:
    cli.define_generator()
    cli.define_pictures("png")
    flags.DEFINE_enum(
        "between", "latents", ["latents", "classes", "both"], "What to interpolate."
    )
    flags.DEFINE_list(
        "classes",
        None,
        "Name or number of the class, or of the first and the last class. By default "
        "the model's first.",
    )
    flags.DEFINE_list("resample", None, "Subspaces, A to C, to resample, one per row.")
    flags.DEFINE_integer("num_rows", 1, "Number of interpolations.", lower_bound=1)
    flags.DEFINE_integer("num_steps", 8, "Videos per interpolation.", lower_bound=2)
    flags.DEFINE_float(
        "truncation", 1.0, "Factor of the latents.", lower_bound=0.0, upper_bound=1.0
    )
    flags.DEFINE_integer("seed", 0, "Seed of the latents.")


def main(argv: list[str]) -> None:
    del argv
    from tf_dvdgan import generators, visualize
    from tf_dvdgan.pictures import interpolations

    interpolation = interpolations.Interpolation(
        FLAGS.between,
        FLAGS.resample or (),
        FLAGS.classes,
        FLAGS.num_rows,
        FLAGS.num_steps,
        FLAGS.truncation,
        FLAGS.seed,
    )
    style = visualize.Style(FLAGS.output, FLAGS.format, FLAGS.fps)
    generator = generators.open_generator(**cli.generator_flags())
    path = interpolations.write_interpolation(generator, interpolation, style)
    print(f"Interpolations of {generator.name}: {path}")


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
