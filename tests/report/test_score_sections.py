"""What tables of scores say."""

import types

import pytest

from tf_dvdgan.report import charts, history, score_sections


def score(step: int, value: float, truncation: float = 1.0, **facts) -> history.Score:
    facts = {"metric": "frechet_distance"} | facts
    return history.Score("fid_small", step, value, None, None, {}, truncation, facts)


def run(name: str, *scores: history.Score) -> types.SimpleNamespace:
    return types.SimpleNamespace(
        name=name, scores=scores, score_command=lambda name: f"--protocol={name}"
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
    ("facts", "there", "not_there"),
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
        # A folder of videos has no splits, whatever the protocol would take.
        ({"real": {"num_clips": 7}, "split": "test"}, ["7 real clips;"], "test"),
        ({"network": "pixels", "split": "test"}, ["by pixels;", "clips (test)"], "()"),
        ({"metric": "prediction", "network": ""}, ["prediction;"], " by "),
        ({"window": {"num_frames": 4, "stride": 2}}, ["4 frames, stride 2"], "None f"),
    ],
)
def test_a_protocol_is_told(facts, there, not_there):
    (row,) = score_sections.of_run(run("a", score(1, 1.0, **facts))).tables[0].rows
    assert all(words in row[-1] for words in there) and not_there not in row[-1], row


def test_scores_by_different_protocols_stand_in_rows_of_their_own():
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
        ("c has no scores yet; they come with", "--protocol=fid_small")
    ]
