"""Published scores: complete and as printed."""

import collections
import dataclasses

import pytest

from tf_dvdgan.evaluation.runs import protocols, published

COUNTS = {
    ("001", "1"): 20,
    ("001", "2"): 6,
    ("001", "3"): 6,
    ("001", "4"): 5,
    ("001", "appendix D"): 2,
    ("002", "1"): 15,
    ("002", "2"): 6,
    ("002", "3"): 5,
    ("002", "4"): 4,
    ("002", "appendix C"): 2,
    ("003", "1"): 12,
    ("003", "2"): 32,
    ("003", "3"): 16,
    ("003", "4"): 3,
    ("004", "1"): 35,
    ("004", "a"): 8,
    ("004", "text"): 1,
}
TEST_SET = "test set; 5 frames given"
# Copied independently from the papers: paper, table, method, data set, frames,
# resolution and metric; note; value; standard deviation.
SPOTS = [
    ("001 1 DVD-GAN Kinetics-600 48 64 IS", "no truncation", 104.09, None),
    ("001 1 DVD-GAN Kinetics-600 48 128 FID", "no truncation", 28.44, None),
    ("001 1 DVD-GAN Kinetics-600 12 256 FID", "truncation of the best IS", 10.17, None),
    ("001 1 DVD-GAN Kinetics-600 12 128 IS", "truncation of the best IS", 246.18, None),
    ("001 2 TGANv2 UCF-101 - - IS", "quoted", 24.34, 0.35),
    ("001 2 DVD-GAN UCF-101 16 128 IS", "", 32.97, 1.7),
    ("001 3 DVD-GAN-FP BAIR 16 64 FVD", "1 frame given", 109.8, None),
    ("001 3 CDNA BAIR 16 64 FVD", "1 frame given; quoted", 296.5, None),
    (
        "001 4 DVD-GAN-FP Kinetics-600 16 64 FVD",
        "test set; 5 frames given",
        69.15,
        1.16,
    ),
    ("001 4 DVD-GAN Kinetics-600 16 64 FVD", "training set; synthesis", 32.3, 0.82),
    ("002 1 DVD-GAN Kinetics-600 48 128 FID", "", 31.50, None),
    ("002 1 DVD-GAN Kinetics-600 12 64 IS", "with truncation", 129.9, None),
    (
        "002 3 DVD-GAN-FP Kinetics-600 16 64 FVD",
        "test set; 5 frames given",
        103.78,
        1.17,
    ),
    ("002 4 DVD-GAN-FP BAIR 16 64 FVD", "1 frame given", 127.1, None),
    ("003 1 VGAN UCF-101 - - IS", "unconditional; quoted", 8.18, 0.09),
    ("003 1 TGAN UCF-101 - - IS", "conditional; quoted", 15.83, 0.18),
    ("003 1 MVT-TSA UCF-101 16 - IS", "conditional", 42.79, 0.63),
    ("003 2 MVT-VAR Weizmann 16 96 SeR", "network TSN", 88.30, None),
    ("003 2 MVT-TSA Jester 16 96 S3", "network ECO", 0.16, None),
    ("003 3 MVT-TSA UCF-101 16 - ReS", "network 3D ResNet-18", 29.61, None),
    ("003 4 MVT-TSA UCF-101 16 - FID", "network TSN; 4000 samples", 3110.29, 0.1),
    ("004 text static frame over VGAN mean of four 32 64 preferred (%)", "", 38, None),
    ("003 4 MVT-TSA Jester 16 96 FID", "network TSN; 4000 samples", 841.08, 0.005),
]


def test_every_table_has_all_rows():
    counted = collections.Counter((row.paper, row.table) for row in published.rows())
    assert counted == COUNTS


@pytest.mark.parametrize(("words", "note", "value", "sd"), SPOTS)
def test_values_match_the_papers(words, note, value, sd):
    def described(row):
        values = (row.frames or "-", row.resolution or "-")
        return (
            f"{row.paper} {row.table} {row.method} {row.dataset} {values[0]} "
            f"{values[1]} {row.metric}"
        )

    found = [
        (row.value, row.sd)
        for row in published.rows()
        if described(row) == words and row.note == note
    ]
    assert found == [(value, sd)]


def test_votes_and_accuracies_of_vgan():
    votes = collections.defaultdict(list)
    for row in published.rows():
        if (row.paper, row.table) == ("004", "1"):
            votes[row.method].append(row.value)
    assert votes["VGAN two stream over autoencoder"] == [88, 83, 87, 71, 82]
    assert votes["VGAN one stream over real"] == [17, 21, 19, 8, 16]
    for values in votes.values():  # the fifth is the mean of four, rounded
        assert abs(sum(values[:4]) / 4 - values[4]) <= 0.75
    accuracies = {row.method: row.value for row in published.rows() if row.table == "a"}
    assert accuracies["VGAN, fine-tuned"] == 52.1
    assert accuracies["STIP features"] == 43.9


def test_s3_is_consistent_with_its_three_accuracies():
    groups = collections.defaultdict(dict)
    for row in published.rows():
        if row.metric in ("SeR", "ReS", "ReR", "S3"):
            groups[row.table, row.method, row.dataset, row.note][row.metric] = row.value
    assert len(groups) == 12
    for values in groups.values():
        s3 = (values["SeR"] * values["ReS"]) ** 0.5 / values["ReR"]
        assert abs(s3 - values["S3"]) < 0.0101, values  # papers truncate or round


def test_rows_are_unique_and_better_depends_on_the_metric():
    rows = published.rows()
    keys = {dataclasses.replace(row, value=0, sd=0, better="") for row in rows}
    assert len(keys) == len(rows)
    for row in rows:
        assert row.better == ("down" if row.metric in ("FID", "FVD") else "up")


def test_protocols_exist_and_agree():
    named = {row.protocol for row in published.rows()} - {""}
    assert named <= set(protocols.PROTOCOLS)
    for row in published.rows():
        if row.protocol:
            lower = protocols.get(row.protocol).lower_is_better
            assert lower == (row.better == "down")
    of_tganv2 = [row for row in published.rows() if row.method == "TGANv2"]
    assert {row.protocol for row in of_tganv2} == {"is_c3d_tgan2"}
    of_s3 = published.rows("s3_mvt")
    assert len(of_s3) == 8 and {row.table for row in of_s3} == {"3"}


def test_rows_are_selected_by_protocol_and_dataset():
    assert len(published.rows(dataset="BAIR")) == 10
    found = published.rows("is_c3d_tgan", "UCF-101")
    assert {row.paper for row in found} == {"001", "002", "003"}
    assert published.rows("is_c3d_tgan", "BAIR") == []


def test_the_table_is_aligned_text():
    lines = published.table("fvd_bair", "BAIR").splitlines()
    assert lines[0].startswith("method") and len(lines) == 11
    assert {line.index("FVD (down)") for line in lines[1:]} == {
        lines[0].index("metric")
    }
    assert any("94 +- 2" in line and "16x64x64" in line for line in lines)
    assert published.table("nothing") == ""
