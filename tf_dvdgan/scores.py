"""The Python interface to scores; `python -m tools.score` is the command."""

import functools
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import tensorflow as tf

from tf_dvdgan import errors, run_directory, terminal, trained, video_gan
from tf_dvdgan import pretrained as pretrained_lib
from tf_dvdgan.data import files
from tf_dvdgan.evaluation.runs import arguments, comparison, printing, receipts
from tf_dvdgan.evaluation.runs import scorer as scorer_lib
from tf_dvdgan.models import vgan
from tf_dvdgan.sampling import sampler as sampler_lib
from tf_dvdgan.sampling import standing_statistics
from tf_dvdgan.training import strategy as strategy_lib


def score(
    real: str | os.PathLike,
    generated: video_gan.VideoGAN | str | os.PathLike,
    protocol: str,
    weights: str | os.PathLike | Sequence[str | os.PathLike] = (),
    *,
    truncation: float = 1.0,
    num_generated: int | None = None,
    num_real: int | None = None,
    num_repeats: int | None = None,
    **options: Unpack[arguments.Options],
) -> comparison.Result:
    """Scores generated videos against real ones by a named protocol.

    docs/evaluation.md describes the protocols.

    Args:
      real: folder of prepared shards or of videos.
      generated: a GAN that was loaded or fitted, or a folder of videos.
      protocol: name of the protocol, such as "fid_small" or "fvd_unterthiner".
      weights: weights file of the protocol's network, or several files; the first that
        fits is used.
      truncation: factor of a GAN's latents.
      num_generated: number of generated videos; the protocol's by default.
      num_real: maximum number of real clips; the protocol's by default.
      num_repeats: number of times a GAN is sampled; the protocol's by default.
      **options: further arguments of `Scorer`: mean, lpips, split, held_out,
        held_out_split, num_frames, stride, resolution, num_resamples, batch_size,
        cache_dir, strategy.

    Returns:
      `score` with `value`, `sd`, `error` and `others`; `metadata`, the protocol as it
      was used; `warnings`.

    Raises:
      UserError: the clips, the weights or the model do not fit the protocol.
    """
    real = files.as_text(real)
    if (mean := options.get("mean")) is not None:
        options["mean"] = files.as_text(mean)
    if (held_out := options.get("held_out")) is not None:
        options["held_out"] = files.as_text(held_out)
    if (lpips := options.get("lpips")) is not None:
        options["lpips"] = files.as_texts(lpips)
    is_model = isinstance(generated, video_gan.VideoGAN)
    changes = arguments.Changes(num_generated, num_real, num_repeats)
    arguments.check_all([protocol], is_model, [truncation], changes, options)
    scored: str | scorer_lib.Model
    if isinstance(generated, video_gan.VideoGAN):
        scored = _model(generated)
    elif isinstance(generated, str | os.PathLike):
        scored = files.as_text(generated)
    else:
        raise errors.UserError(
            "`generated` must be a VideoGAN or a folder of videos, not "
            f"{type(generated).__name__}."
        )
    paths = files.as_texts(weights)
    scorer = scorer_lib.Scorer(real, scored, paths, changes=changes, **options)
    return scorer(protocol, truncation)


def print_scores(
    real: str,
    protocol: str | Sequence[str],
    weights: str | Sequence[str] = (),
    *,
    generated: str | None = None,
    model_dir: str | None = None,
    pretrained: str | None = None,
    step: int | str | None = None,
    truncations: Sequence[float] = (1.0,),
    num_generated: int | None = None,
    num_real: int | None = None,
    num_repeats: int | None = None,
    output: str | None = None,
    receipt: str | None = None,
    **options: Unpack[arguments.Options],
) -> None:
    """Scores a run or a folder by protocols, prints the scores and writes them.

    Checks all arguments before it loads the model. Of several workers, the chief prints
    and writes.

    Args:
      real: folder of prepared shards or of videos.
      protocol: name of the protocol, or several names.
      weights: weights file of the protocols' networks, or several files; the first that
        fits is used.
      generated: folder of generated videos; None to score a run.
      model_dir: directory of the run; None to score a folder.
      pretrained: instead of it, name of a generator that comes with the package.
      step: checkpoint of the run: its step or 'best'; the newest by default.
      truncations: factors of the run's latents; each is scored.
      num_generated: number of generated videos; the protocol's by default.
      num_real: maximum number of real clips; the protocol's by default.
      num_repeats: number of times the run is sampled; the protocol's by default.
      output: JSON Lines file to append the scores to; the run's `scores.jsonl` by
        default, and none for a folder or an exported run, whose files have hashes.
      receipt: file for only these scores, see `receipts`.
      **options: further arguments of `Scorer`, as in `score`.

    Raises:
      UserError: arguments exclude one another, a file cannot be written, or the clips,
        the weights or the model do not fit a protocol.
    """
    names = [protocol] if isinstance(protocol, str) else list(protocol)
    if pretrained:
        if model_dir:
            raise errors.UserError("Set either `model_dir` or `pretrained`.")
        model_dir = pretrained_lib.path_of(pretrained)
    elif model_dir:
        model_dir = pretrained_lib.resolve(model_dir)
    if (generated is None) == (model_dir is None):
        raise errors.UserError("Set either `generated` or `model_dir`.")
    if generated is not None and step is not None:
        raise errors.UserError("`step` is for `model_dir`, not for `generated`.")
    changes = arguments.Changes(num_generated, num_real, num_repeats)
    arguments.check_all(names, model_dir is not None, truncations, changes, options)
    for path in filter(None, (output, receipt)):
        files.check_writable(path)
    if output:
        run_directory.check_rows(output)
    if receipt:
        receipts.check_replaceable(receipt, output)
    scored: str | scorer_lib.Model
    if model_dir is not None:
        run = run_directory.RunDirectory(model_dir)
        if output is None and run.is_exported:
            if not receipt and strategy_lib.is_chief(_strategy_of(options)):
                terminal.say(
                    "The files of an exported run do not change: the scores are not "
                    "added to them; `output` names another file"
                )
        elif output is None:
            output = run.scores_file
        scored = open_model(model_dir, step, options.get("strategy"))
    else:
        assert generated is not None
        scored = generated
    paths = files.as_texts(weights)
    scorer = scorer_lib.Scorer(real, scored, paths, changes=changes, **options)
    printing.print_scores(scorer, names, truncations, output, receipt)


def _model(gan: video_gan.VideoGAN) -> scorer_lib.Model:
    generator = gan.generator
    sampler = getattr(generator, "sampler", None)
    if sampler is None:
        raise errors.UserError(
            "A SavedModel cannot be scored directly: score a folder of its videos."
        )
    _check_sampled(sampler)
    return scorer_lib.Model(
        sampler,
        generator.window,
        generator.class_names,
        generator.metadata["step"],
        generator.place,
    )


def open_model(
    model_dir: str,
    step: int | str | None = None,
    strategy: tf.distribute.Strategy | None = None,
    standing_batches: int = standing_statistics.NUM_BATCHES,
) -> scorer_lib.Model:
    """Loads a run's model for `Scorer`, with its variables on a strategy's devices.

    Args:
      model_dir: directory of the run.
      step: step of the checkpoint, or 'best'; the newest by default.
      strategy: where the model runs.
      standing_batches: number of batches for the standing statistics.

    Returns:
      The model.

    Raises:
      UserError: it is not a run's directory, has no such checkpoint, or the model is an
        autoencoder.
    """
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        model = trained.load(model_dir, step)
    sampler = sampler_lib.Sampler(model.gan, strategy, standing_batches)
    _check_sampled(sampler)
    return scorer_lib.Model(
        sampler, model.window, model.class_names, model.step, model_dir
    )


def _check_sampled(sampler: sampler_lib.Sampler) -> None:
    if isinstance(sampler.networks.generator, vgan.Autoencoder):
        raise errors.UserError(
            "The model is an autoencoder, which reconstructs whole clips: score "
            "videos from tools.sample, with `generated`."
        )


def verify(
    receipt: str,
    protocols: Sequence[str] = (),
    places: Mapping[str, Any] | None = None,
    **options: Unpack[arguments.Computation],
) -> bool:
    """Repeats the scores in a file, and prints what is as recorded and what differs.

    Args:
      receipt: file that `tools.score` wrote, ``--receipt`` or ``--output``, or a run's
        directory, for its `scores.jsonl`. Of an exported run, which has no paths, the
        clips and weights are among the `places`.
      protocols: names of the protocols to repeat; empty for all in the file.
      places: where clips and files are now, if they have moved: "real", "generated",
        "model_dir", "step", "weights", "mean", "lpips", "held_out".
      **options: how scores are computed: num_resamples, batch_size, cache_dir,
        strategy. Without a `cache_dir`, no features of earlier commands are used.

    Returns:
      Whether all scores, clips and weights are as recorded; of several workers the
      chief finds out. Scores may differ by a thousandth, as those of two machines do.

    Raises:
      UserError: the file has no such scores, or they cannot be computed.
    """
    strategy = _strategy_of(options)
    all_same = True
    moved = dict(places or {})
    if "model_dir" in moved:
        moved |= {
            "generated": None,
            "model_dir": pretrained_lib.resolve(moved["model_dir"]),
        }
    records = receipts.read(receipt, protocols, every=True)
    with tempfile.TemporaryDirectory(prefix="tf_dvdgan-") as folder:
        options.setdefault("cache_dir", folder)
        repeat = _repeater(**options)
        for record in records:
            try:
                result = repeat(record["inputs"] | moved)
            except errors.UserError as error:
                if len(records) == 1 or strategy_lib.spans_workers(strategy):
                    raise
                terminal.say(f"{record['protocol']['name']}: not repeated. {error}")
                all_same = False
                continue
            if not strategy_lib.is_chief(strategy):  # which has the features of all
                continue
            lines, is_same = receipts.compare(record, result)
            print("\n  ".join(lines))
            all_same = all_same and is_same
    return all_same


def explain(
    first: str,
    second: str,
    protocol: str | None = None,
    places: Mapping[str, Any] | None = None,
    **options: Unpack[arguments.Computation],
) -> list[receipts.Contribution]:
    """Explains why two recorded scores differ, see `receipts.explain`; prints it.

    Args:
      first: file that `tools.score` wrote, or a run's directory, with one score.
      second: another such file.
      protocol: which of several scores in a file; names may differ otherwise.
      places: where clips and files of both are now, if they have moved: "real",
        "weights", "mean", "held_out".
      **options: how scores are computed: batch_size, cache_dir, strategy.

    Returns:
      The contribution of each factor in which the scores differ.

    Raises:
      UserError: a file has no score or several, the metrics differ, or one place cannot
        be that of both.
    """
    names = [] if protocol is None else [protocol]
    records = []
    for path in (first, second):
        found = receipts.read(path, names, every=True)
        if len(found) > 1:
            of = ", ".join(dict.fromkeys(r["protocol"]["name"] for r in found))
            raise errors.UserError(
                f"{path} has {len(found)} scores, by {of}: choose one with `protocol`, "
                "or write a file with one score by tools.score --receipt."
            )
        records += found
    for name, place in (places or {}).items():
        of = {"real": "real clips", "held_out": "held-out clips"}.get(name, name)
        splits = {receipts.split_of(record) for record in records}
        has_both = name == "real" and len(splits) == 2  # checked when it is read
        of_both = [record["hashes"].get(of) for record in records]
        if of_both[0] != of_both[1] and not has_both:
            raise errors.UserError(
                f"The scores have different {of}: `{name}` cannot stand for both."
            )
        for record in records:
            record["inputs"][name] = place
    options["num_resamples"] = 0
    contributions = receipts.explain(records[0], records[1], _repeater(**options))
    if strategy_lib.is_chief(_strategy_of(options)):
        print(receipts.table(records[0], records[1], contributions))
    return contributions


def _strategy_of(options: Mapping[str, Any]) -> tf.distribute.Strategy:
    return options.get("strategy") or tf.distribute.get_strategy()


def _repeater(**options: Unpack[arguments.Computation]) -> receipts.Score:
    """Returns what computes scores from records' arguments; opens each model once."""
    opened = functools.cache(
        functools.partial(open_model, strategy=options.get("strategy"))
    )

    def repeat(inputs: Mapping[str, Any]) -> comparison.Result:
        protocol, generated = receipts.protocol_of(inputs), inputs["generated"]
        if generated is None:
            if not inputs["model_dir"]:
                raise errors.UserError(
                    "The score is of a model that was not in a run's directory; name "
                    "its run with `model_dir`."
                )
            known = {n: inputs[n] for n in ("standing_batches",) if n in inputs}
            generated = opened(inputs["model_dir"], inputs["step"], **known)
            # A record of a folder may be on its way to a model: these are its own.
            inputs = {**inputs, **dict.fromkeys(arguments.OF_FOLDERS)}
        others = {name: inputs[name] for name in receipts.OF_SCORER}
        scorer = scorer_lib.Scorer(generated=generated, **others, **options)
        return scorer.score(protocol, inputs["truncation"])

    return repeat
