"""Scores a trained model, or any folder of generated videos, by a named protocol.

  python -m tools.score --protocol=fvd_unterthiner --weights=i3d.weights.h5 \
      --real=FOLDER --generated=FOLDER
  python -m tools.score --protocol=fid_small --protocol=accuracy_small \
      --weights=small.weights.h5 --real=SHARDS --model_dir=RUN

--pretrained=NAME scores a generator that comes with the package.

A folder holds prepared shards, or videos (mp4, avi, gif, ...), arrays (.npy) and
folders of numbered frames, with or without a sub-folder per class. Each score is
printed with its protocol and the published scores that it is comparable with. Scores of
a model are appended to the run's scores.jsonl, those of folders to --output.

Features of clips are cached in --cache_dir: those of real clips are extracted only
once, and a stopped command resumes. --truncations=0.2,0.4,0.6,0.8,1 scores a model at
each truncation, with its own standing statistics. tools.convert_weights converts
published weights, tools.train_classifier trains the small classifier.
docs/evaluation.md lists the protocols.

  python -m tools.score --verify=FILE
  python -m tools.score --explain FIRST SECOND

The first repeats recorded scores and says what differs: clips, weights, scores; flags
such as --real say where clips and weights have moved to; all features are extracted
again, unless --cache_dir names a folder for them. The second says which of the
differences between two recorded scores matters how much. Both read files of --receipt
or --output, or a run's scores.jsonl.
"""

import os
from collections.abc import Sequence
from typing import Any

from absl import flags

from tf_dvdgan import cli, errors

FLAGS = flags.FLAGS
# With --verify, where they are now; with --explain, where those of both are.
_PLACES = (
    *("real", "generated", "model_dir", "step", "weights", "mean", "lpips"),
    "held_out",
)
_PLACES_OF_BOTH = ("real", "weights", "mean", "held_out")


def define_flags() -> None:
    flags.DEFINE_multi_string("protocol", None, "Protocol; may be repeated.")
    flags.DEFINE_string("real", None, "Folder of real clips.")
    flags.DEFINE_string(
        "held_out", None, "Folder of real clips outside the training set."
    )
    flags.DEFINE_string(
        "held_out_split",
        None,
        "Split of the held-out shards; by default 'test', or else 'validation'.",
    )
    flags.DEFINE_string("generated", None, "Folder of generated clips.")
    flags.DEFINE_string("model_dir", None, "A run's folder, to score its model.")
    cli.define_step()
    flags.DEFINE_string(
        "pretrained",
        None,
        "Instead of --model_dir: name of a generator that comes with the package.",
    )
    flags.DEFINE_multi_string("weights", [], "Weights file; may be repeated.")
    flags.DEFINE_string("mean", None, "Mean of C3D's training clips, mean2.npz.")
    flags.DEFINE_list(
        "lpips", None, "Two weights files of LPIPS: its backbone, its linear layers."
    )
    flags.DEFINE_list(
        "truncations", ["1"], "Factors of a model's latents, from 0 to 1."
    )
    flags.DEFINE_string(
        "split", None, "Split of real shards, instead of the protocol's."
    )
    for name, of_what in (
        ("num_generated", "Number of generated videos, instead of the protocol's."),
        ("num_real", "Maximum number of real clips, instead of the protocol's."),
        (
            "num_repeats",
            "Number of times to sample a model, instead of the protocol's.",
        ),
        ("num_frames", "Frames per clip of a folder, if the protocol leaves it open."),
        ("stride", "Use every n-th real frame, if the protocol leaves it open."),
        ("resolution", "Size to resize the clips of folders to, in pixels."),
    ):
        flags.DEFINE_integer(name, None, of_what, lower_bound=1)
    flags.DEFINE_integer(
        "num_resamples", 100, "Resamples of the bootstrap; 0 skips it.", lower_bound=0
    )
    flags.register_validator(
        "num_resamples", lambda count: count != 1, message="it must be 0 or at least 2"
    )
    flags.DEFINE_integer("batch_size", 16, "Clips per batch.", lower_bound=1)
    flags.DEFINE_string("output", None, "JSON Lines file to append scores to.")
    flags.DEFINE_string("receipt", None, "File to write these scores to, and no other.")
    flags.DEFINE_string(
        "verify", None, "File of scores to repeat: is everything as recorded?"
    )
    flags.DEFINE_string(
        "explain", None, "File of a score; after it, the file of one that differs."
    )
    flags.DEFINE_string(
        "cache_dir", os.path.join("~", ".cache", "tf_dvdgan"), "Folder of features."
    )
    cli.define_strategy()


def main(argv: list[str]) -> int:
    _check_mode(argv[1:])
    from tf_dvdgan import scores
    from tf_dvdgan.training import strategy as strategy_lib

    protocols = FLAGS.protocol or []
    strategy = strategy_lib.create(FLAGS.strategy, FLAGS.tpu)
    if FLAGS.explain:
        scores.explain(
            FLAGS.explain,
            argv[1],
            protocols[0] if protocols else None,
            _given(_PLACES_OF_BOTH),
            batch_size=FLAGS.batch_size,
            cache_dir=FLAGS.cache_dir,
            strategy=strategy,
        )
        return 0
    if FLAGS.verify:
        is_same = scores.verify(
            FLAGS.verify,
            protocols,
            _given(_PLACES),
            batch_size=FLAGS.batch_size,
            strategy=strategy,
            # Those of the cache may be of what is to be verified.
            **({"cache_dir": FLAGS.cache_dir} if FLAGS["cache_dir"].present else {}),
        )
        return 0 if is_same else 1
    scores.print_scores(
        FLAGS.real,
        protocols,
        FLAGS.weights,
        generated=FLAGS.generated,
        model_dir=FLAGS.model_dir,
        pretrained=FLAGS.pretrained,
        step=FLAGS.step,
        truncations=cli.numbers("truncations"),
        num_generated=FLAGS.num_generated,
        num_real=FLAGS.num_real,
        num_repeats=FLAGS.num_repeats,
        output=FLAGS.output,
        receipt=FLAGS.receipt,
        mean=FLAGS.mean,
        lpips=FLAGS.lpips,
        split=FLAGS.split,
        held_out=FLAGS.held_out,
        held_out_split=FLAGS.held_out_split,
        num_frames=FLAGS.num_frames,
        stride=FLAGS.stride,
        resolution=FLAGS.resolution,
        num_resamples=FLAGS.num_resamples,
        batch_size=FLAGS.batch_size,
        cache_dir=FLAGS.cache_dir,
        strategy=strategy,
    )
    return 0


def _given(names: Sequence[str]) -> dict[str, Any]:
    return {name: FLAGS[name].value for name in names if FLAGS[name].present}


def _check_mode(others: list[str]) -> None:
    """Rejects flags and arguments that do not belong to --verify or --explain."""
    modes = [name for name in ("verify", "explain") if FLAGS[name].value]
    if len(modes) > 1:
        raise errors.UserError("Set either --verify or --explain.")
    if len(others) != (1 if modes == ["explain"] else 0):
        if modes == ["explain"]:
            raise errors.UserError(
                "--explain compares two scores: --explain FIRST.json SECOND.json."
            )
        cli.exit_with_flag_error(f"{others[0]!r} is not a flag; flags start with --")
    if not modes:
        for name in ("protocol", "real"):
            if not FLAGS[name].value:
                cli.exit_with_flag_error(f"Flag --{name} must have a value")
        return
    allowed = {
        *modes,
        "protocol",
        "batch_size",
        "cache_dir",
        "strategy",
        "tpu",
        "quiet",
    }
    allowed.update(_PLACES if modes == ["verify"] else _PLACES_OF_BOTH)
    for flag in FLAGS.get_key_flags_for_module(__name__):
        if flag.present and flag.name not in allowed:
            raise errors.UserError(
                f"--{flag.name} does not apply to --{modes[0]}, which takes it from "
                "the recorded score."
            )


def run() -> None:
    define_flags()
    cli.run(
        main,
        flags_parser=cli.parse_flags,  # leaves the second file of --explain
        if_interrupted="Features extracted so far are in --cache_dir; the same command "
        "resumes from there. (With --verify only if --cache_dir was named.)",
    )


if __name__ == "__main__":
    run()
