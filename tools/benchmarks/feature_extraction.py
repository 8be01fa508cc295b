"""Times the overhead of feature extraction over the networks' forward passes.

  python -m tools.benchmarks.feature_extraction --data_dir=SHARDS

For each network, with random weights: clips per second of its forward pass on a batch
in memory, and of extraction, which reads, decodes and resizes clips of shards and
stores their features. The two take turns, so that other load on the machine affects
both. Runs from a checkout only; it is not installed.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable

from absl import flags

from tf_dvdgan import cli

FLAGS = flags.FLAGS

# Network, preprocessing, frames, batch size, batches per timed run.
_CASES = (
    ("small_classifier", "unit_range", 8, 64, 20),
    ("i3d", "unterthiner_i3d", 16, 4, 3),
)


def define_flags() -> None:
    flags.DEFINE_string(
        "data_dir", None, "Shards, of clips of 40 frames.", required=True
    )
    flags.DEFINE_integer("rounds", 5, "Timed rounds.", lower_bound=1)


def main(argv: list[str]) -> None:
    del argv
    print(f"{'':18}{'bare':>12}{'extraction':>12}  clips/s, medians")
    for case in _CASES:
        bare, extracted = _rates(*case)
        ratio = f"{extracted / bare:.2f} of the bare forward"
        print(f"{case[0]:18}{bare:12.1f}{extracted:12.1f}  {ratio}", flush=True)


def _rates(
    name: str, preprocessing_name: str, num_frames: int, batch_size: int, batches: int
) -> tuple[float, float]:
    """Clips per second of a bare forward pass, and of extraction from shards."""
    import tensorflow as tf

    from tf_dvdgan.data import clips, windows
    from tf_dvdgan.evaluation.features import (
        extraction,
        networks,
        preprocessing,
        sources,
    )

    network = networks.NETWORKS[name](10)
    preprocess = getattr(preprocessing, preprocessing_name)
    shards = clips.open_clips(FLAGS.data_dir, "train")
    count = batch_size * batches
    source = sources.ClipSelection(shards, windows.Window(num_frames), count)
    rows = itertools.islice(filter(None, source.rows(0, 0, 1)), batch_size)
    ready = preprocess(tf.stack([row["video"] for row in rows]))
    forward = tf.function(lambda videos: network(videos)["features"])
    extract = extraction.Extractor(
        lambda videos, labels: network(preprocess(videos)),
        tf.distribute.get_strategy(),
        batch_size,
    )

    def run_bare() -> None:
        for _ in range(batches):
            forward(ready).numpy()

    def run_extraction() -> None:
        with tempfile.TemporaryDirectory() as folder:
            extract(source, {}, folder)

    seconds: dict[Callable[[], None], list[float]] = {run_bare: [], run_extraction: []}
    for i in range(FLAGS.rounds + 1):
        for function, times in seconds.items():
            began = time.perf_counter()
            function()
            if i:  # the first round traces
                times.append(time.perf_counter() - began)
    bare, extracted = (count / statistics.median(times) for times in seconds.values())
    return bare, extracted


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
