"""Shows what hidden units of VGAN's future predictor respond to (paper 004, figure 6).

  python -m tools.units --model_dir=RUN --data_dir=SHARDS --output=FOLDER

Runs the encoder of first frames on clips' first frames. Each row of units.png shows one
unit of a layer: the frames that activate it most, darkened where its activation,
enlarged to the frame, is not in the top 0.5 % over these clips (Zhou et al., 2015).
Without --units it shows the most selective units: those with the largest ratio of
maximum to mean activation.
"""

from absl import flags

from tf_dvdgan import cli

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("model_dir", None, "A run's folder.", required=True)
    cli.define_step()
    flags.DEFINE_string("data_dir", None, "Shards of clips.", required=True)
    flags.DEFINE_string("output", None, "Folder to write to.", required=True)
    flags.DEFINE_integer(
        "layer", 4, "Convolution, counted from 1 at the pixels.", lower_bound=1
    )
    flags.DEFINE_list("units", [], "Numbers of units; by default the most selective.")
    flags.DEFINE_integer(
        "num_units", 8, "Number of units without --units.", lower_bound=1
    )
    flags.DEFINE_integer("num_frames", 8, "Frames shown per unit.", lower_bound=1)
    flags.DEFINE_integer("num_clips", 2000, "Maximum number of clips.", lower_bound=1)


def main(argv: list[str]) -> None:
    del argv
    from tf_dvdgan import generators, visualize
    from tf_dvdgan.pictures import units

    style = visualize.Style(FLAGS.output)
    path = units.write_units(
        generators.open_generator(FLAGS.model_dir, FLAGS.step),
        FLAGS.data_dir,
        style,
        layer=FLAGS.layer,
        units=FLAGS.units,
        num_units=FLAGS.num_units,
        num_frames=FLAGS.num_frames,
        num_clips=FLAGS.num_clips,
    )
    print(path)


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
