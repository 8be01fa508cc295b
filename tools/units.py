"""Shows what hidden units of VGAN's future predictor respond to (paper 004, figure 6).

  python -m tools.units --model_dir=RUN --data_dir=SHARDS --output=FOLDER

The network that reads the first frame is run on first frames of clips. Each row of
units.png is one unit of one of its layers: the frames on which it is most active, dark
where its activation, enlarged to the frame, is not among the top 0.5 % of all that it
has on these clips (Zhou et al., 2015). Without --units the most selective ones are
shown: those whose largest activation is the most times their mean one.
"""

from absl import flags

from tf_dvdgan import cli, errors

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("model_dir", None, "A run's folder.", required=True)
    cli.define_step()
    flags.DEFINE_string("data_dir", None, "Shards of clips to look at.", required=True)
    flags.DEFINE_string("output", None, "Folder to write to.", required=True)
    flags.DEFINE_integer(
        "layer", 4, "Which convolution, counted from the pixels.", lower_bound=1
    )
    flags.DEFINE_list("units", [], "Numbers of units; by default the most selective.")
    flags.DEFINE_integer("num_units", 8, "How many, by default.", lower_bound=1)
    flags.DEFINE_integer("num_frames", 8, "Shown of each unit.", lower_bound=1)
    flags.DEFINE_integer("num_clips", 2000, "Looked at, at the most.", lower_bound=1)


def main(argv: list[str]) -> None:
    del argv
    from tf_dvdgan import generators, visualize
    from tf_dvdgan.data import files
    from tf_dvdgan.evaluation import sources
    from tf_dvdgan.models import vgan

    files.check_writable(FLAGS.output, as_folder=True)
    generator = generators.open_generator(FLAGS.model_dir, FLAGS.step)
    network = generator.gan.generator
    if not isinstance(network, vgan.FuturePredictor):
        raise errors.UserError(
            f"{generator.name} has no encoder of first frames: units are of runs of "
            "models/vgan_future.gin."
        )
    layers = len(network.convolutions)
    if FLAGS.layer > layers:
        raise errors.UserError(f"The network has {layers} convolutions; see --layer.")
    clips = sources.Prepared(FLAGS.data_dir, generator.window, "train", FLAGS.num_clips)
    frames = sources.first_frames(clips, 1)[:, 0]
    active = generator.activations(frames, FLAGS.layer)
    count = active.shape[-1]
    if not all(unit.isdecimal() and int(unit) < count for unit in FLAGS.units):
        raise errors.UserError(f"--units are numbers from 0 to {count - 1}.")
    units = [int(unit) for unit in FLAGS.units]
    units = units or visualize.selective_units(active, FLAGS.num_units)
    picture = visualize.units(frames, active, units, FLAGS.num_frames)
    facts = generator.facts | {"layer": FLAGS.layer, "units": units}
    path = visualize.write_one(FLAGS.output, "units.png", picture[None], 1, facts)
    print(f"{len(units)} of {count} units on {len(frames)} frames: {path}")


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
