"""Every row of every table of the papers is accounted for in docs/experiments.md."""

import csv
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# Typed from the papers: the rows of each table, as the tables name them.
TABLES = {
    ("000", "1"): [
        "12x64",
        "48x64",
        "12x128",
        "48x128",
        "12x256",
    ],
    ("000", "2"): [
        "VGAN",
        "TGAN",
        "MoCoGAN",
        "ProgressiveVGAN",
        "TGANv2",
        "DVD-GAN",
    ],
    ("000", "3"): [
        "Video Transformer",
        "DVD-GAN-FP",
        "DVD-GAN",
    ],
    ("001", "1"): [
        "12x64",
        "12x128",
        "12x256",
        "48x64",
        "48x128",
    ],
    ("001", "2"): [
        "VGAN",
        "TGAN",
        "MoCoGAN",
        "ProgressiveVGAN",
        "TGANv2",
        "DVD-GAN",
    ],
    ("001", "3"): [
        "SVP-FP",
        "CDNA",
        "SV2P",
        "SAVP",
        "DVD-GAN-FP",
        "Video Transformer",
    ],
    ("001", "4"): [
        "Video Transformer",
        "DVD-GAN-FP",
        "DVD-GAN",
    ],
    ("002", "1"): [
        "12x64",
        "48x64",
        "12x128",
        "48x128",
        "12x256",
    ],
    ("002", "2"): [
        "VGAN",
        "TGAN",
        "MoCoGAN",
        "ProgressiveVGAN",
        "TGANv2",
        "DVD-GAN",
    ],
    ("002", "3"): [
        "Video Transformer",
        "DVD-GAN-FP",
        "DVD-GAN",
    ],
    ("002", "4"): [
        "SV2P",
        "SAVP",
        "Video Transformer",
        "DVD-GAN-FP",
    ],
    ("003", "1"): [
        "VGAN, UCF-101",
        "TGAN, UCF-101",
        "MDP, UCF-101",
        "MoCoGAN, UCF-101",
        "Prog. VGAN, UCF-101",
        "TGANv2, UCF-101",
        "DVD-GAN, UCF-101, unconditional",
        "TGAN, UCF-101, conditional",
        "DVD-GAN, UCF-101, conditional",
        "MVT, UCF-101",
        "MVT-TSA, UCF-101",
        "MVT-TSA, Jester",
    ],
    ("003", "2"): [
        "MoCoGAN, Weizmann",
        "MVT, Weizmann",
        "MVT-MC, Weizmann",
        "MVT-VAR, Weizmann",
        "MVT-TSA, Weizmann",
        "MVT, UCF-101",
        "MVT-TSA, UCF-101",
        "MVT-TSA, Jester",
    ],
    ("003", "3"): [
        "MVT, TSN",
        "MVT-TSA, TSN",
        "MVT, 3D ResNet-18",
        "MVT-TSA, 3D ResNet-18",
    ],
    ("003", "4"): [
        "MVT, UCF-101",
        "MVT-TSA, UCF-101",
        "MVT-TSA, Jester",
    ],
    ("004", "1"): [
        "random preference",
        "VGAN two stream over autoencoder",
        "VGAN one stream over autoencoder",
        "VGAN two stream over one stream",
        "VGAN two stream over real",
        "VGAN one stream over real",
        "autoencoder over real",
    ],
    ("004", "a"): [
        "chance",
        "STIP features",
        "temporal coherence",
        "shuffle and learn",
        "VGAN, random init",
        "VGAN, logistic regression",
        "VGAN, fine-tuned",
        "ImageNet supervision",
    ],
    ("004", "text"): [
        "static frame over VGAN",
    ],
}


def accounted_for() -> dict[tuple[str, str], dict[str, str]]:
    """What docs/experiments.md says of each row, by paper and table."""
    text = (ROOT / "docs" / "experiments.md").read_text()
    found: dict[tuple[str, str], dict[str, str]] = {}
    for line in text.partition("## Every row of every table")[2].splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if len(cells) == 4 and re.fullmatch(r"00\d", cells[0]):
            paper, table, row, here = cells
            rows = found.setdefault((paper, table), {})
            assert row not in rows, line
            rows[row] = here
    return found


@pytest.mark.parametrize("table", TABLES, ids="-".join)
def test_each_row_has_a_file_or_a_reason(table):
    rows = accounted_for()[table]
    assert list(rows) == TABLES[table]
    for row, here in rows.items():
        files = re.findall(r"`(papers/[\w/]+\.gin)`", here)
        assert files or re.fullmatch(r"published only: .{10,}", here), row
        for file in files:
            assert (ROOT / "gin" / file).exists(), file


def test_no_table_is_one_that_no_paper_has():
    assert set(accounted_for()) == set(TABLES)


def test_each_row_has_its_published_figure():
    with open(
        ROOT / "tf_dvdgan" / "evaluation" / "runs" / "published.csv", newline=""
    ) as file:
        printed = list(csv.DictReader(file))
    for (paper, table), rows in TABLES.items():
        figures = [
            row
            for row in printed
            if row["paper"] == ("002" if paper == "000" else paper)
            and row["table"] == table
        ]
        for row in rows:
            words = [word.strip() for word in row.split(",")]
            assert any(
                all(word in described(figure) for word in words) for figure in figures
            ), (paper, table, row)


def described(figure: dict[str, str]) -> str:
    return " ".join([*figure.values(), f"{figure['frames']}x{figure['resolution']}"])


def test_every_experiment_of_a_table_is_a_row_s():
    of_rows = {
        file
        for rows in accounted_for().values()
        for here in rows.values()
        for file in re.findall(r"papers/[\w/]+\.gin", here)
    }
    files = (ROOT / "gin" / "papers").rglob("*.gin")
    tables = {str(file.relative_to(ROOT / "gin")) for file in files}
    assert {name for name in tables if "/figure" not in name} == of_rows
