"""Times what feature extraction adds to the networks that scores are made of.

  python -m tools.benchmarks.feature_extraction --data_dir=SHARDS

For each network, with weights made up: clips a second of its bare forward on a batch
that is there already, and of shards that are read, decoded, resized and kept on the
way. The two take turns, so that what else the machine does falls on both alike.
"""

import itertools
import statistics
import tempfile
import time

from absl import flags

from tf_dvdgan import cli

FLAGS = flags.FLAGS

# Network, preprocessing, frames, clips of a batch, batches that are timed at once.
_CASES = (
    ("small_classifier", "unit_range", 8, 64, 20),
    ("i3d", "unterthiner_i3d", 16, 4, 3),
)


def define_flags() -> None:
    flags.DEFINE_string("data_dir", None, "Shards, of 40 frames each.", required=True)
    flags.DEFINE_integer("rounds", 5, "That are timed.", lower_bound=1)


def main(argv: list[str]) -> None:
    del argv
    print(f"{'':18}{'bare':>12}{'extraction':>12}  clips/s, medians")
    for case in _CASES:
        bare, extraction = _rates(*case)
        ratio = f"{extraction / bare:.2f} of the bare forward"
        print(f"{case[0]:18}{bare:12.1f}{extraction:12.1f}  {ratio}", flush=True)


def _rates(
    name: str, preprocessing_name: str, num_frames: int, batch_size: int, batches: int
) -> tuple[float, float]:
    """Clips a second: of a bare forward, and from shards."""
    import tensorflow as tf

    from tf_dvdgan.data import clip_files
    from tf_dvdgan.evaluation import (
        clips,
        features,
        networks,
        preprocessing,
        sources,
    )

    network = networks.NETWORKS[name](10)
    preprocess = getattr(preprocessing, preprocessing_name)
    place = clips.open_folder(FLAGS.data_dir, "train")
    count = batch_size * batches
    source = sources.Files(place, clip_files.Window(num_frames), count)
    rows = itertools.islice(source.rows(0, 0, 1), batch_size)
    ready = preprocess(tf.stack([row["video"] for row in rows]))
    forward = tf.function(lambda videos: network(videos)["features"])
    extract = features.Extractor(
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

    seconds = {run_bare: [], run_extraction: []}
    for i in range(FLAGS.rounds + 1):
        for function, times in seconds.items():
            began = time.perf_counter()
            function()
            if i:  # the first round traces
                times.append(time.perf_counter() - began)
    bare, extraction = (count / statistics.median(times) for times in seconds.values())
    return bare, extraction


def run() -> None:
    define_flags()
    cli.run(main)


if __name__ == "__main__":
    run()
