"""The pages and the reference build, without a warning and from this machine alone."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent

pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
pytestmark = pytest.mark.slow  # a minute; `make docs` is as strict


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> pathlib.Path:
    """The built pages; a warning, such as a reference to nothing, is an error."""
    output = tmp_path_factory.mktemp("docs") / "html"
    strict = ["--fail-on-warning", "--keep-going", "--nitpicky"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *strict, "-q", "-b", "html", "docs", output],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return output


def test_every_page_and_module_is_there(html):
    for page in (ROOT / "docs").glob("*.md"):
        assert (html / f"{page.stem}.html").exists(), page
    for folder in ("tf_dvdgan", "data_prep", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            assert (html / "api" / f"{name.removesuffix('.__init__')}.html").exists()


def test_the_reference_has_what_docstrings_say(html):
    text = (html / "api" / "tf_dvdgan.losses.html").read_text()
    assert 'id="tf_dvdgan.losses.OrthogonalRegularization"' in text
    assert "Penalty on kernels whose columns are not orthogonal" in text
    command = (html / "api" / "tf_dvdgan.run.html").read_text()
    assert "highlight-bash" in command and "--gin_file" in command


def test_pages_load_nothing_from_elsewhere(html):
    for page in html.rglob("*.html"):
        text = page.read_text()
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*src="([^"]+)"', text)
        loaded += re.findall(r'<link[^>]*href="([^"]+)"', text)
        assert not [path for path in loaded if "://" in path], page
