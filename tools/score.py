"""Scores a trained model, or any folder of generated videos, by a named protocol.

  python -m tools.score --protocol=fvd_unterthiner --weights=i3d.weights.h5 \
      --real=FOLDER --generated=FOLDER
  python -m tools.score --protocol=fid_small --protocol=accuracy_small \
      --weights=small.weights.h5 --real=SHARDS --model_dir=RUN

A folder holds prepared shards, or videos (mp4, avi, gif, ...), arrays (.npy) and
folders of numbered frames, classes as sub-folders or not. Each score is printed with
its protocol, and beside those that papers print; of a model they go to the run's
scores.jsonl, of folders to --output.

What a network says of clips is kept in --cache_dir: real clips are looked at once, and
a score that was stopped resumes where it was. --truncations=0.2,0.4,0.6,0.8,1 scores a
model at each, with standing statistics made for it. tools.convert_weights makes files
of weights from what others publish, tools.train_classifier those of the small
classifier. docs/evaluation.md has the protocols in a table.
"""

import dataclasses
import functools
import json
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
    flags.DEFINE_string("split", None, "Of real shards, in place of the protocol's.")
    for name, of_what in (
        ("num_generated", "Videos, in place of the protocol's."),
        ("num_real", "Real clips at the most, likewise."),
        ("num_repeats", "Times a model is sampled, likewise."),
        ("num_frames", "Of each clip of a folder, where no protocol says."),
        ("stride", "Every n-th real frame, likewise."),
        ("resolution", "Clips of folders are resized to it."),
    ):
        flags.DEFINE_integer(name, None, of_what, lower_bound=1)
    flags.DEFINE_integer(
        "num_resamples", 100, "Of the bootstrap; 0 leaves it out.", lower_bound=0
    )
    flags.register_validator(
        "num_resamples", lambda count: count != 1, message="one tells no spread"
    )
    flags.DEFINE_integer("batch_size", 16, "Clips at a time.", lower_bound=1)
    flags.DEFINE_string("output", None, "JSON Lines file that scores are added to.")
    flags.DEFINE_string(
        "cache_dir", os.path.join("~", ".cache", "tf_dvdgan"), "Keeps features."
    )
    cli.define_strategy()


def main(argv: list[str]) -> None:
    del argv
    if (FLAGS.generated is None) == (FLAGS.model_dir is None):
        raise errors.UserError("Give either --generated or --model_dir.")
    if FLAGS.lpips and len(FLAGS.lpips) != 2:
        raise errors.UserError("--lpips is two files with a comma between them.")
    truncations = _truncations()
    _check_all_is_used()
    from tf_dvdgan.evaluation import protocols, published
    from tf_dvdgan.training import strategy as strategy_lib

    asked = [_changed(protocols.named(name)) for name in FLAGS.protocol]
    _check_protocols(asked, truncations)
    if FLAGS.output:
        files.check_writable(FLAGS.output)
    strategy = strategy_lib.create(FLAGS.strategy, FLAGS.tpu)
    chief = strategy_lib.is_chief(strategy)
    results: dict[str, list] = {protocol.name: [] for protocol in asked}
    score = _of_folders(strategy) if FLAGS.generated else _of_model(strategy)
    for truncation in truncations:
        for protocol in asked:
            result = score(protocol, truncation)
            if not chief:
                continue
            results[protocol.name].append((truncation, result))
            _show(protocol, result)
            _keep(protocol, result)
    if not chief:
        return
    if len(truncations) > 1:
        _show_curve(results)
    for protocol in asked:
        table = published.table(protocol.name)
        if table:
            print(f"\nPublished, to compare with {protocol.name}:\n{table}")


def _check_all_is_used() -> None:
    """Refuses flags that say nothing of what is scored."""
    of_folders = ("num_frames", "stride", "resolution")
    of_models = ("step", "num_repeats", "lpips")
    given, other, others = "model_dir", "generated", of_folders
    if FLAGS.generated:
        given, other, others = "generated", "model_dir", of_models
    for name in others:
        if FLAGS[name].value is not None:
            raise errors.UserError(f"--{name} is of --{other}, not of --{given}.")


def _check_protocols(asked, truncations: list[float]) -> None:
    """Refuses what a protocol cannot be asked for."""
    from tf_dvdgan.evaluation import protocols

    for protocol in asked:
        if not protocol.needs_model:
            continue
        if FLAGS.generated:
            raise errors.UserError(f"{protocol.name} wants a model, --model_dir.")
        if truncations != [1.0]:
            raise errors.UserError(f"{protocol.name} is of truncation 1 alone.")
    if FLAGS.lpips and all(p.metric != protocols.PREDICTION for p in asked):
        raise errors.UserError("--lpips is for --protocol=prediction.")


def _changed(protocol):
    """A protocol with what the flags change of it."""
    names = ("num_generated", "num_real", "num_repeats")
    changes = {name: FLAGS[name].value for name in names}
    changes = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(protocol, **changes)


def _truncations() -> list[float]:
    if not cli.are_truncations(FLAGS.truncations):
        raise errors.UserError(
            "--truncations are numbers from 0 to 1 with commas between them, unlike "
            f"{','.join(FLAGS.truncations)!r}."
        )
    values = [float(text) for text in FLAGS.truncations]
    if FLAGS.generated and values != [1.0]:
        raise errors.UserError("--truncations are for a model; these clips are made.")
    return values


def _of_folders(strategy):
    """Makes what scores a folder by a protocol."""
    from tf_dvdgan.evaluation import clips, comparison

    generated = clips.open_folder(FLAGS.generated)

    def score(protocol, truncation: float):
        del truncation
        real, held_out = _real(protocol)
        window = comparison.window_of(
            protocol, FLAGS.num_frames, FLAGS.stride, FLAGS.resolution
        )
        judge = _judge(protocol, len(real.class_names), strategy)
        return comparison.of_folders(
            judge, real, generated, held_out, window, FLAGS.num_resamples
        )

    return score


def _of_model(strategy):
    """Makes what scores a model by a protocol, at a truncation."""
    from tf_dvdgan import trained
    from tf_dvdgan.evaluation import comparison, protocols
    from tf_dvdgan.evaluation.networks import lpips
    from tf_dvdgan.models import vgan

    with strategy.scope():
        model = trained.load(FLAGS.model_dir, FLAGS.step)
    if isinstance(model.gan.generator, vgan.Autoencoder):
        raise errors.UserError(
            "The model is an autoencoder, which gives whole clips back: score what "
            "tools.sample draws of it, as --generated."
        )
    scores = comparison.ModelScores(
        model.gan, model.window, strategy, model.class_names
    )

    @functools.cache
    def clips_of(protocol):
        return _real(protocol, model.window.classes)

    @functools.cache
    def judge_of(protocol):
        num_classes = len(clips_of(protocol)[0].class_names)
        return _judge(protocol, num_classes, strategy)

    def score(protocol, truncation: float):
        real, held_out = clips_of(protocol)
        if protocol.is_s3:
            result = scores.s3(protocol, real, held_out, _cache_dir(), FLAGS.weights)
        elif protocol.metric == protocols.PREDICTION:
            network = lpips.load(*FLAGS.lpips) if FLAGS.lpips else None
            result = scores.prediction(protocol, real, network, FLAGS.batch_size)
        else:
            result = scores.at(
                judge_of(protocol), real, held_out, truncation, FLAGS.num_resamples
            )
        result.facts["step"] = model.step
        return result

    return score


def _real(protocol, classes=()):
    """Real clips, and those held out where the others were trained on."""
    from tf_dvdgan.evaluation import comparison

    return comparison.real_clips(
        protocol,
        FLAGS.real,
        FLAGS.split,
        FLAGS.held_out,
        FLAGS.held_out_split,
        classes,
    )


def _judge(protocol, num_classes: int, strategy):
    from tf_dvdgan.evaluation import scoring

    return scoring.Judge(
        protocol,
        FLAGS.weights,
        num_classes or None,
        strategy,
        FLAGS.mean,
        _cache_dir(),
        FLAGS.batch_size,
    )


def _cache_dir() -> str:
    path = os.path.expanduser(FLAGS.cache_dir)
    files.ready(path, writing=True)
    return path


def _show(protocol, result) -> None:
    facts, weights = result.facts, result.facts["weights"]
    at = f" at truncation {facts['truncation']:g}" if "truncation" in facts else ""
    print(f"\n{protocol.name}{at}: {result.score}")
    others = result.score.others.items()
    if others:
        print("  " + "  ".join(f"{name} {value:.4g}" for name, value in others))
    by = f"{protocol.network or 'none'} ({weights.get('source', 'no weights')}"
    by += f", {weights['hash'][:12]})" if "hash" in weights else ")"
    size = f", {facts['resolution']} pixels" if facts["resolution"] else ""
    print(f"  {protocol.metric} by {by}, {protocol.preprocessing}")
    print(f"  {facts['num_frames']} frames, stride {facts['stride']}{size}")
    for side in ("real", "generated", "held-out"):
        if side in facts:
            held, name = facts[side]["num_clips"], facts[side]["name"]
            split = f", split {facts[side]['split']}" if "split" in facts[side] else ""
            taken = facts.get(f"num_{side}", held)
            print(f"  {side}: {taken} of {held} in {name}{split}")
    if "truncation" in facts:
        print(f"  generated: {facts['num_generated']}, seed {protocol.seed}")
    print(f"  compares with {protocol.compares_with}")
    for sentence in result.warnings:
        print(f"  warning: {sentence}")


def _keep(protocol, result) -> None:
    """Adds the score to the run's scores, or to the file that is asked for."""
    from tf_dvdgan.evaluation import evaluator

    path = FLAGS.output
    if path is None and FLAGS.model_dir:
        path = os.path.join(FLAGS.model_dir, evaluator.SCORES_FILE)
    if path is None:
        return
    score = result.score
    others = {f"{protocol.name}/{name}": x for name, x in score.others.items()}
    row = {
        "step": result.facts.get("step"),
        "scores": {protocol.name: score.value, **others},
        "sd": score.sd,
        "standard_error": score.error,
        "protocol": result.facts,
    }
    evaluator.add_scores(path, json.loads(json.dumps(row)))


def _show_curve(results) -> None:
    """All truncations in one table, and that of the best Inception Score."""
    from tf_dvdgan.evaluation import protocols

    print("\ntruncation  " + "  ".join(f"{name:>14}" for name in results))
    for i, (truncation, _) in enumerate(next(iter(results.values()))):
        values = [f"{found[i][1].score.value:14.4g}" for found in results.values()]
        print(f"{truncation:10g}  " + "  ".join(values))
    for name, found in results.items():
        if protocols.named(name).metric == protocols.INCEPTION:
            best = max(found, key=lambda pair: pair[1].score.value)
            print(f"Best {name} at truncation {best[0]:g}: {best[1].score}")


def run() -> None:
    define_flags()
    cli.run(
        main,
        if_interrupted="What networks said of clips so far is kept in --cache_dir; "
        "the same command resumes from there.",
    )


if __name__ == "__main__":
    run()
