"""Shows what hidden units of VGAN's future predictor respond to (paper 004, figure 6).

  python -m tools.units --model_dir=RUN --data_dir=SHARDS --output=FOLDER

Runs the network that reads the first frame on first frames of clips. Each row of
units.png is one unit of a layer: the frames on which it is most active, dark where its
activation, enlarged to the frame, is not among its top 0.5 % on these clips (Zhou et
al., 2015). Without --units the most selective units are shown: those with the largest
ratio of maximum to mean activation.
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
        "layer", 4, "Which convolution, counted from the pixels.", lower_bound=1
    )
    flags.DEFINE_list("units", [], "Numbers of units; by default the most selective.")
    flags.DEFINE_integer("num_units", 8, "How many, by default.", lower_bound=1)
    flags.DEFINE_integer("num_frames", 8, "Shown of each unit.", lower_bound=1)
    flags.DEFINE_integer("num_clips", 2000, "Used at most.", lower_bound=1)


def main(argv: list[str]) -> None:
    del argv
    from tf_dvdgan import generators, pictures
    from tf_dvdgan.data import files

    files.check_writable(FLAGS.output, as_folder=True)
    path = pictures.write_units(
        generators.open_generator(FLAGS.model_dir, FLAGS.step),
        FLAGS.data_dir,
        pictures.Style(FLAGS.output),
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
