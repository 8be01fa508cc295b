"""Prints scores with their protocols, and adds them to files."""

from collections.abc import Sequence

from tf_dvdgan import run_directory, terminal
from tf_dvdgan.evaluation.runs import (
    comparison,
    protocols,
    published,
    receipts,
    scoring,
)
from tf_dvdgan.evaluation.runs import scorer as scorer_lib
from tf_dvdgan.training import strategy as strategy_lib


def print_scores(
    scorer: scorer_lib.Scorer,
    names: Sequence[str],
    truncations: Sequence[float] = (1.0,),
    output: str | None = None,
    receipt: str | None = None,
) -> None:
    """Computes scores, prints each with its protocol, and adds them to a file.

    Of several workers, the chief prints and writes.

    Args:
      scorer: computes the scores.
      names: names of the protocols.
      truncations: factors of a model's latents.
      output: JSON Lines file; None to write no file.
      receipt: file for only these scores, see `receipts`; None to write no file.

    Raises:
      UserError: the clips, the weights or the model do not fit a protocol.
    """
    names = list(dict.fromkeys(names))
    chief = strategy_lib.is_chief(scorer.strategy)
    curves: dict[str, list[float]] = {name: [] for name in names}
    best: dict[str, tuple[float, scoring.Score]] = {}
    records: list[dict] = []
    for truncation in truncations:
        for name in names:
            result = scorer(name, truncation)
            if not chief:
                continue
            print(_described(result))
            records.append(receipts.record_of(result))
            if output:
                run_directory.add_row(output, records[-1])
            value = result.score.value
            curves[name].append(value)
            if name not in best or value > best[name][1].value:
                best[name] = (truncation, result.score)
    if not chief:
        return
    if receipt:
        receipts.write(receipt, records)
    if len(truncations) > 1:
        _print_curves(curves, truncations, best)
    for name in names:
        table = published.table(name)
        if table:
            print(f"\nPublished scores, to compare with {name}:\n{table}")


def _print_curves(
    curves: dict[str, list[float]],
    truncations: Sequence[float],
    best: dict[str, tuple[float, scoring.Score]],
) -> None:
    """Prints the scores of each truncation, and the best Inception Scores."""
    print("\ntruncation  " + "  ".join(f"{name:>14}" for name in curves))
    for truncation, values in zip(
        truncations, zip(*curves.values(), strict=True), strict=True
    ):
        cells = "  ".join(f"{value:14.4g}" for value in values)
        print(f"{truncation:10g}  {cells}")
    for name in curves:
        if protocols.get(name).metric == protocols.INCEPTION:
            truncation, score = best[name]
            print(f"Best {name} at truncation {truncation:g}: {score}")


def _described(result: comparison.Result) -> str:
    """Formats a score with its metadata and warnings, in several lines."""
    metadata, weights = result.metadata, result.metadata["weights"]
    at = ""
    if "truncation" in metadata:
        at = f" at truncation {metadata['truncation']:g}"
    lines = [f"{metadata['name']}{at}: {result.score}"]
    others = result.score.others.items()
    if others:
        lines.append("  " + "  ".join(f"{name} {value:.4g}" for name, value in others))
    network = f"{metadata['network'] or 'none'} ({weights.get('source', 'no weights')}"
    network += f", {weights['hash'][:12]})" if "hash" in weights else ")"
    size = f", {metadata['resolution']} pixels" if metadata["resolution"] else ""
    lines.append(f"  {metadata['metric']} by {network}, {metadata['preprocessing']}")
    frames, stride = metadata["num_frames"], metadata["stride"]
    lines.append(f"  {frames} frames, stride {stride}{size}")
    for side in ("real", "generated", "held-out"):
        if side in metadata:
            clips = metadata[side]
            split = f", split {clips['split']}" if "split" in clips else ""
            used = metadata.get(f"num_{side}", clips["num_clips"])
            lines.append(
                f"  {side}: {used} of {clips['num_clips']} in {clips['name']}{split}"
            )
    if "truncation" in metadata:
        count, seed = metadata["num_generated"], metadata["seed"]
        lines.append(f"  generated: {count}, seed {seed}")
    lines.append(f"  compares with {metadata['compares_with']}")
    lines += [f"  warning: {message}" for message in result.warnings]
    # Names of files, and what weights files say, may hold control characters.
    return "\n" + "\n".join(map(terminal.printable, lines))
