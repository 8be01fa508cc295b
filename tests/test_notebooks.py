"""Notebooks run from top to bottom, and have their outputs saved.

After a change that is meant, save the outputs again: `python tests/test_notebooks.py`.
"""

import ast
import json
import os
import pathlib
import re
import sys
import tempfile
import time

import pytest

FOLDER = pathlib.Path(__file__).parent.parent / "notebooks"
MAX_SECONDS = 120  # of a run
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

pytestmark = pytest.mark.usefixtures("quick_graphs")


def run(cells: list[str]) -> list[object]:
    """Runs code cells one after another; gives the value of each one's last line."""
    values, names = [], {"__name__": "__main__"}
    for number, source in enumerate(cells, 1):
        tree = ast.parse(source)
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr):
            last = ast.Expression(tree.body.pop().value)
        exec(compile(tree, f"cell {number}", "exec"), names)
        value = eval(compile(last, f"cell {number}", "eval"), names) if last else None
        values.append(value)
    return values


def code_of(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def output_of(value: object, number: int) -> list[dict]:
    """What Jupyter would have saved of a cell."""
    if value is None:
        return []
    data = {"text/plain": repr(value)}
    if hasattr(value, "_repr_html_"):
        data = {"text/html": value._repr_html_(), "text/plain": type(value).__name__}
    return [
        {
            "output_type": "execute_result",
            "execution_count": number,
            "metadata": {},
            "data": data,
        }
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_soon_and_shows_what_it_has_saved(path, tmp_path, monkeypatch):
    notebook = json.loads(path.read_text())
    cells = code_of(notebook)
    saved = [set(output["data"]) for cell in cells for output in cell["outputs"]]
    monkeypatch.chdir(tmp_path)
    # A tenth of the steps: what they teach is in the saved outputs.
    sources = [
        re.sub(r"steps=(\d+)0\b", r"steps=\1", "".join(cell["source"]))
        for cell in cells
    ]
    began = time.monotonic()
    values = run(sources)
    assert time.monotonic() - began < MAX_SECONDS
    found = [
        set(output["data"])
        for number, value in enumerate(values, 1)
        for output in output_of(value, number)
    ]
    assert found == saved
    html = "".join(
        output["data"].get("text/html", "")
        for cell in cells
        for output in cell["outputs"]
    )
    assert html.count("data:image/gif") >= 2 and "<svg" in html
    assert path.stat().st_size < 1_000_000
    assert values[-1] <= 1  # a SavedModel gives the run's videos


if __name__ == "__main__":
    for path in NOTEBOOKS:
        loaded = json.loads(path.read_text())
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            for number, (cell, value) in enumerate(
                zip(
                    code_of(loaded),
                    run(["".join(cell["source"]) for cell in code_of(loaded)]),
                    strict=True,
                ),
                1,
            ):
                cell["outputs"] = output_of(value, number)
                cell["execution_count"] = number
        path.write_text(json.dumps(loaded, indent=1) + "\n")
        print(f"saved {path}", file=sys.stderr)
