"""Scores a trained model, or any folder of generated videos, by a named protocol.

  python -m tools.score --protocol=fvd_unterthiner --weights=i3d.weights.h5 \
      --real=FOLDER --generated=FOLDER
  python -m tools.score --protocol=fid_small --protocol=accuracy_small \
      --weights=small.weights.h5 --real=SHARDS --model_dir=RUN

A folder holds prepared shards, or videos (mp4, avi, gif, ...), arrays (.npy) and
folders of numbered frames, with or without classes as sub-folders. Each score is
printed with its protocol and the published scores to compare it with. Scores of a model
are added to the run's scores.jsonl, those of folders to --output.

Features of clips are kept in --cache_dir: those of real clips are extracted once, and a
stopped command resumes. --truncations=0.2,0.4,0.6,0.8,1 scores a model at each, with
standing statistics of its own. tools.convert_weights makes files of weights from
published ones, tools.train_classifier those of the small classifier. docs/evaluation.md
has the protocols in a table.
"""

import os

from absl import flags

from tf_dvdgan import cli, errors
from tf_dvdgan.data import files

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_multi_string("protocol", None, "Name; may be repeated.", required=True)
    flags.DEFINE_string("real", None, "Folder of real clips.", required=True)
    flags.DEFINE_string("held_out", None, "Real clips that were not trained on.")
    flags.DEFINE_string(
        "held_out_split", None, "Of shards; by default 'test', or else 'validation'."
    )
    flags.DEFINE_string("generated", None, "Folder of generated clips.")
    flags.DEFINE_string("model_dir", None, "A run's folder, to score its model.")
    cli.define_step()
    flags.DEFINE_multi_string("weights", [], "File of weights; may be repeated.")
    flags.DEFINE_string("mean", None, "Mean of C3D's training clips, mean2.npz.")
    flags.DEFINE_list(
        "lpips", None, "Weights of LPIPS: of its backbone, and of its linear layers."
    )
    flags.DEFINE_list("truncations", ["1"], "Factors of a model's latents.")
    flags.DEFINE_string("split", None, "Of real shards, instead of the protocol's.")
    for name, of_what in (
        ("num_generated", "Videos, instead of the protocol's number."),
        ("num_real", "Most real clips, instead of the protocol's number."),
        ("num_repeats", "Times a model is sampled, instead of the protocol's."),
        ("num_frames", "Of each clip of a folder, if the protocol leaves it open."),
        ("stride", "Every n-th real frame, if the protocol leaves it open."),
        ("resolution", "Clips of folders are resized to it."),
    ):
        flags.DEFINE_integer(name, None, of_what, lower_bound=1)
    flags.DEFINE_integer(
        "num_resamples", 100, "Of the bootstrap; 0 skips it.", lower_bound=0
    )
    flags.register_validator(
        "num_resamples", lambda count: count != 1, message="one has no spread"
    )
    flags.DEFINE_integer("batch_size", 16, "Clips at a time.", lower_bound=1)
    flags.DEFINE_string("output", None, "JSON Lines file that scores are added to.")
    flags.DEFINE_string(
        "cache_dir", os.path.join("~", ".cache", "tf_dvdgan"), "Keeps features."
    )
    cli.define_strategy()


def main(argv: list[str]) -> None:
    del argv
    truncations = _checked_flags()
    from tf_dvdgan import run_directory
    from tf_dvdgan.evaluation.runs import scorer as scorer_lib
    from tf_dvdgan.training import strategy as strategy_lib

    changes = scorer_lib.Changes(FLAGS.num_generated, FLAGS.num_real, FLAGS.num_repeats)
    _check_protocols([changes.of(name) for name in FLAGS.protocol], truncations)
    output = FLAGS.output
    if output:
        files.check_writable(output)
    elif FLAGS.model_dir:
        output = run_directory.RunDirectory(FLAGS.model_dir).scores_file
    strategy = strategy_lib.create(FLAGS.strategy, FLAGS.tpu)
    scorer = scorer_lib.Scorer(
        FLAGS.real,
        FLAGS.generated or _model(strategy),
        FLAGS.weights,
        mean=FLAGS.mean,
        lpips=FLAGS.lpips,
        split=FLAGS.split,
        held_out=FLAGS.held_out,
        held_out_split=FLAGS.held_out_split,
        num_frames=FLAGS.num_frames,
        stride=FLAGS.stride,
        resolution=FLAGS.resolution,
        changes=changes,
        num_resamples=FLAGS.num_resamples,
        batch_size=FLAGS.batch_size,
        cache_dir=FLAGS.cache_dir,
        strategy=strategy,
    )
    scorer_lib.print_scores(scorer, FLAGS.protocol, truncations, output, strategy)


def _model(strategy):
    """The run's model on the strategy."""
    from tf_dvdgan import trained
    from tf_dvdgan.evaluation.runs import scorer as scorer_lib
    from tf_dvdgan.sampling import sampler

    with strategy.scope():
        model = trained.load(FLAGS.model_dir, FLAGS.step)
    return scorer_lib.Model(
        sampler.Sampler(model.gan, strategy),
        model.window,
        model.class_names,
        model.step,
    )


def _checked_flags() -> list[float]:
    """Refuses flags that do not go together; returns the truncations."""
    if (FLAGS.generated is None) == (FLAGS.model_dir is None):
        raise errors.UserError("Give either --generated or --model_dir.")
    if FLAGS.lpips and len(FLAGS.lpips) != 2:
        raise errors.UserError("--lpips is two files with a comma between them.")
    if not cli.are_truncations(FLAGS.truncations):
        raise errors.UserError(
            "--truncations are numbers from 0 to 1 with commas between them, unlike "
            f"{','.join(FLAGS.truncations)!r}."
        )
    truncations = [float(text) for text in FLAGS.truncations]
    if FLAGS.generated and truncations != [1.0]:
        raise errors.UserError("--truncations are for a model; these clips are made.")
    of_folders = ("num_frames", "stride", "resolution")
    of_models = ("step", "num_repeats", "lpips")
    given, other, others = "model_dir", "generated", of_folders
    if FLAGS.generated:
        given, other, others = "generated", "model_dir", of_models
    for name in others:
        if FLAGS[name].value is not None:
            raise errors.UserError(f"--{name} is for --{other}, not for --{given}.")
    return truncations


def _check_protocols(asked, truncations: list[float]) -> None:
    """Refuses protocols that do not fit the flags."""
    from tf_dvdgan.evaluation.runs import protocols

    for protocol in asked:
        if not protocol.needs_model:
            continue
        if FLAGS.generated:
            raise errors.UserError(f"{protocol.name} scores a model: give --model_dir.")
        if truncations != [1.0]:
            raise errors.UserError(f"{protocol.name} is defined for truncation 1 only.")
    if FLAGS.lpips and all(p.metric != protocols.PREDICTION for p in asked):
        raise errors.UserError("--lpips is for --protocol=prediction.")


def run() -> None:
    define_flags()
    cli.run(
        main,
        if_interrupted="Features so far are kept in --cache_dir; the same command "
        "resumes from there.",
    )


if __name__ == "__main__":
    run()
