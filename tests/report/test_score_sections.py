"""Contents of the tables of scores."""

import types

import pytest

from tf_dvdgan.report import charts, history, run_data, score_sections


def score(
    step: int, value: float, truncation: float = 1.0, **metadata
) -> history.Score:
    metadata = {"metric": "frechet_distance"} | metadata
    return history.Score("fid_small", step, value, None, None, {}, truncation, metadata)


def run(name: str, *scores: history.Score, config: str = "") -> types.SimpleNamespace:
    return types.SimpleNamespace(
        name=name,
        scores=scores,
        config=config,
        dataset="shapes",
        score_command=lambda name: f"--protocol={name}",
    )


@pytest.mark.parametrize(
    ("metric", "best"),
    [("frechet_distance", ["3", "4"]), ("inception_score", ["9", "8"])],
)
def test_the_newest_and_the_best_of_a_run(metric, best):
    values = [(4, 3.0), (8, 9.0), (8, 5.0)]
    scores = [score(step, value, metric=metric) for step, value in values]
    other = score(8, 1.0, 0.5, metric=metric)
    section = score_sections.of_run(run("a", *scores, other))
    (row,) = section.tables[0].rows
    assert row[:5] == ["fid_small", "5", "8", *best]


@pytest.mark.parametrize(
    ("metadata", "expected", "excluded"),
    [
        (
            {
                "network": "i3d",
                "weights": {"source": "hub", "hash": "0123456789abcdef"},
                "real": {"num_clips": 7, "split": "test"},
                "split": "train",
            },
            ["distance by i3d (hub, 0123456789ab);", "7 real clips (test)"],
            "train",
        ),
        # A folder of videos has no splits, whatever the protocol says.
        ({"real": {"num_clips": 7}, "split": "test"}, ["7 real clips;"], "test"),
        ({"network": "pixels", "split": "test"}, ["by pixels;", "clips (test)"], "()"),
        ({"metric": "prediction", "network": ""}, ["prediction;"], " by "),
        ({"num_frames": 4, "stride": 2}, ["4 frames, stride 2"], "None f"),
    ],
)
def test_rows_describe_the_protocol(metadata, expected, excluded):
    (row,) = score_sections.of_run(run("a", score(1, 1.0, **metadata))).tables[0].rows
    assert all(words in row[-1] for words in expected) and excluded not in row[-1], row


def test_scores_by_different_protocols_have_separate_rows():
    first = run("a", score(1, 9.0), score(2, 8.0), score(2, 7.0, num_real=5))
    section = score_sections.side_by_side([first, run("b", score(3, 6.0)), run("c")])
    (table,) = section.tables
    assert table.header == ["score", "a", "b", "c", "protocol"]
    none = charts.NOTHING
    assert [row[:4] for row in table.rows] == [
        ["fid_small", "8 (step 2)", "6 (step 3)", none],
        ["fid_small", "7 (step 2)", none, none],
    ]
    assert section.missing == [
        ("c has no scores yet; to compute one, run", "--protocol=fid_small")
    ]


def seeds(name: str, values, k: int) -> list[types.SimpleNamespace]:
    return [
        run(f"{name}{i}", score(4, value), config=f"trainer.build.seed = {i}\nK = {k}")
        for i, value in enumerate(values)
    ]


def test_seeds_of_one_config_are_averaged():
    runs = [*seeds("k1_seed", [1.0, 2.0, 6.0], 1), *seeds("k8-s", [5.0], 8)]
    (table,) = score_sections.side_by_side(runs).tables
    assert table.header == ["score", "k1 (3 seeds)", "k8-s0", "protocol"]
    assert table.rows[0][1:3] == ["3 ± 2.6 (3 seeds, step 4)", "5 (step 4)"]


def test_seeds_are_compared_at_their_last_common_step():
    first, second = seeds("k_seed", [1.0, 3.0], 1)
    second.scores = (*second.scores, score(8, 100.0))
    (table,) = score_sections.side_by_side([first, second]).tables
    assert table.rows[0][1] == "2 ± 1.4 (2 seeds, step 4)"
    second.scores = second.scores[1:]
    (table,) = score_sections.side_by_side([first, second]).tables
    assert table.rows[0][1] == "50.5 ± 70 (2 seeds, step 4, 8)"


def test_runs_are_grouped_by_everything_except_the_seed():
    three = seeds("run_", [1, 2, 3], 1)
    other = run("x", config="trainer.build.seed = 0\nK = 2")
    unknown = [run("y"), run("z")]  # without a config they cannot be compared
    found = run_data.groups([three[0], other, *three[1:], *unknown])
    assert [[r.name for r in group.runs] for group in found] == [
        ["run_0", "run_1", "run_2"],
        ["x"],
        ["y"],
        ["z"],
    ]
    # Groups whose names would be equal list their runs.
    pairs = [*seeds("k1_seed", [1, 2], 1), *seeds("k1-run", [1, 2], 2)]
    assert [group.name for group in run_data.groups(pairs)] == [
        "k1_seed0, k1_seed1",
        "k1-run0, k1-run1",
    ]
    (unnamed,) = run_data.groups(seeds("seed_", [1, 2], 1))
    assert unnamed.name == "runs (2 seeds)"
