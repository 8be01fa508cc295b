"""`tools.report`: the page's contents, its validity, and how a browser shows it."""

import base64
import html.parser
import io
import json
import os
import re
import shutil
import time
import types

import av
import browser
import numpy as np
import pytest
from conftest import run_module

import tf_dvdgan as dvd
from tf_dvdgan import errors, run_directory, trained, visualize
from tf_dvdgan.data import readers, windows
from tf_dvdgan.models import video_gan
from tf_dvdgan.report import films, nearest, page
from tf_dvdgan.sampling import latents
from tf_dvdgan.training import summaries

WINDOW = windows.Window(4, 16)
HOSTILE = "<img src=x onerror=alert(1)>\N{RIGHT-TO-LEFT OVERRIDE}&"


def score(step: int, name: str, value: float, **protocol) -> dict:
    metadata = {"name": name, "metric": "frechet_distance", "step": step, **protocol}
    return {"step": step, "scores": {name: value}, "protocol": metadata}


@pytest.fixture(scope="module")
def run_dir(tiny_run, tmp_path_factory) -> str:
    """A run of six steps with curves, sample sheets and scores."""
    model_dir = str(tmp_path_factory.mktemp("runs") / "first")
    its_scores = shutil.ignore_patterns("scores.jsonl", "eval", "best")
    shutil.copytree(tiny_run, model_dir, ignore=its_scores)
    rows = [
        score(3, "fid_small", 9.125, truncation=1.0),
        score(6, "fid_small", 7.375, truncation=1.0),
        score(6, "fid_small", 8.5, truncation=0.5),
        score(6, "fvd_unterthiner", 444.5, truncation=1.0),
    ]
    for row in rows:
        run_directory.add_row(f"{model_dir}/scores.jsonl", row)
    summaries.Summaries(model_dir, "eval").scalars(6, {"fid_small": 7.375})
    return model_dir


@pytest.fixture(scope="module")
def path(run_dir, demo_shards, tmp_path_factory) -> str:
    """The page of that run, written by the command."""
    output = str(tmp_path_factory.mktemp("page") / "report.html")
    done = run_module(
        "tools.report",
        *(f"--model_dir={run_dir}", f"--data_dir={demo_shards}", f"--output={output}"),
    )
    assert done.returncode == 0, done.stderr
    assert output in done.stdout
    return output


@pytest.fixture(scope="module")
def other_dir(run_dir) -> str:
    """A second run with hostile names; one of its classes is also in the first."""
    folder = run_dir.replace("first", "second")
    shutil.copytree(run_dir, folder)
    with open(f"{folder}/dataset.json") as file:
        metadata = json.load(file)
    names = [HOSTILE, *(f"Other{i}" for i in range(7)), metadata["class_names"][-1]]
    with open(f"{folder}/dataset.json", "w") as file:
        json.dump({**metadata, "class_names": names, "dataset": "</style>"}, file)
    with open(f"{folder}/operative_config-0.gin", "a") as file:
        file.write("\nextra.parameter = '</pre><script>alert(2)</script>'\n")
    (row, *_) = run_directory.RunDirectory(run_dir).read_scores()
    row["scores"]["fid_small"] = 6.25
    with open(f"{folder}/scores.jsonl", "w") as file:
        file.write(json.dumps(row) + "\n")
    summaries.Summaries(folder, "eval").scalars(6, {HOSTILE: 1.0})
    return folder


@pytest.fixture(scope="module")
def bare_run(other_dir, tmp_path_factory) -> str:
    """A run that has not written a checkpoint yet."""
    folder = str(tmp_path_factory.mktemp("bare"))
    for name in ("config.gin", "dataset.json"):
        shutil.copy(f"{other_dir}/{name}", folder)
    return folder


@pytest.fixture(scope="module")
def bare_page(bare_run) -> str:
    return page.of_run(bare_run)


@pytest.fixture(scope="module")
def other_page(other_dir) -> str:
    return page.of_run(other_dir)


class Page(html.parser.HTMLParser):
    """The elements of a page in order: name, attributes, inner text."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict, list[str]]] = []
        self._open: list[tuple[str, dict, list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        element = (tag, dict(attrs), [])
        self.elements.append(element)
        if tag not in ("meta", "link", "br", "img", "circle", "line", "path"):
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        for _, _, text in self._open:
            text.append(data)

    def all(self, *tags: str) -> list[tuple[dict, str]]:
        """Attributes and text of the elements with these names."""
        return [(a, "".join(text)) for tag, a, text in self.elements if tag in tags]


def check_is_accessible(text: str) -> None:
    parsed = Page(text)
    assert parsed.all("html")[0][0]["lang"] == "en"
    for landmark in ("header", "main", "nav", "footer", "h1"):
        assert len(parsed.all(landmark)) == 1, landmark
    ids = [a["id"] for _, a, _ in parsed.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for a, _ in parsed.all("a"):
        assert a["href"][0] == "#" and a["href"][1:] in ids, a
    for _, a, _ in parsed.elements:
        assert set(a.get("aria-labelledby", "").split()) <= set(ids), a
    assert all(a["aria-label"] for a, _ in parsed.all("video"))
    assert all(a["scope"] in ("col", "row") for a, _ in parsed.all("th"))
    assert len(parsed.all("caption")) == len(parsed.all("table"))
    charts = [a for a, _ in parsed.all("svg") if a.get("role") == "img"]
    hidden = [a for a, _ in parsed.all("svg") if "aria-hidden" in a]
    labeled = [a for a, _ in parsed.all("desc")]
    assert len(charts) == len(labeled)
    legends = [a for a, _ in parsed.all("ul") if a.get("class") == "legend"]
    assert all(a["aria-hidden"] == "true" for a in legends)
    assert all("aria-hidden" in a for a in hidden)
    for a, _ in parsed.all("div"):
        assert a.get("role") != "region" or (a["aria-label"] and a["tabindex"] == "0")


def check_nothing_leaves_it(text: str) -> None:
    parsed = Page(text)
    for tag, a, _ in parsed.elements:
        for name, value in a.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "poster", "action", "data", "srcset"):
                assert value.startswith(("data:", "#")), (tag, value)
    ((_, style),) = parsed.all("style")
    assert "url(" not in style and "@import" not in style
    assert len(parsed.all("script")) == 1
    policy = next(a for a, _ in parsed.all("meta") if "http-equiv" in a)["content"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy


def test_the_page_is_valid_and_describes_the_run(path, run_dir):
    with open(path) as file:
        text = file.read()
    check_is_accessible(text)
    check_nothing_leaves_it(text)
    parsed = Page(text)
    gan = trained.load(run_dir).gan
    weights = gan.generator.trainable_variables
    parameters = sum(int(np.prod(w.shape)) for w in weights)
    ((_, metadata),) = parsed.all("dl")
    assert f"{parameters:,} parameters" in metadata and "HorizontalCircle" in metadata
    headings = [heading for _, heading in parsed.all("h2")]
    assert "Samples by class" in headings and "Nearest training clips" in headings
    captions = [caption for _, caption in parsed.all("figcaption")]
    for caption in (
        "Losses",
        "Scores of the temporal discriminator",
        "fid_small by step",
        "fid_small by truncation",
        "RoundTriangle",
        "Truncation 0.2",
        "Between two latents",
        "Step 6",
    ):
        assert caption in captions, captions
    scores = next(t for _, t in parsed.all("table") if "This run" in t).split()
    assert {"7.375", "444.5"} <= set(scores)
    papers = next(t for _, t in parsed.all("table") if "Papers, same protocols" in t)
    assert "fvd_unterthiner" in papers and "fid_dvdgan" not in papers
    assert any("NUM_STEPS = 6" in config for _, config in parsed.all("pre"))
    assert not [a for a, t in parsed.all("p") if "--data_dir=SHARDS" in t]


def test_missing_data_come_with_a_command(bare_page):
    check_is_accessible(bare_page)
    check_nothing_leaves_it(bare_page)
    parsed = Page(bare_page)
    assert not parsed.all("video")
    commands = " ".join(text for _, text in parsed.all("code"))
    for module in ("tf_dvdgan.run", "tools.score", "tools.benchmark"):
        assert f"python -m {module}" in commands


def test_an_exported_generator_has_its_samples_on_the_page(run_dir, tmp_path):
    """It has no checkpoints."""
    exported = str(tmp_path / "exported")
    dvd.load(run_dir).save(exported, as_run=True)
    text = page.of_run(exported)
    assert Page(text).all("video")
    assert "This page shows" in text and "Trained for" not in text
    path = os.path.join(exported, "generator.npz")
    with np.load(path) as file:
        values = dict(file)
    name = next(name for name in values if name.endswith("kernel"))
    np.savez(path, **values | {name: values[name] * np.nan})
    text = page.of_run(exported)  # whose curves may say why
    assert not Page(text).all("video") and "no checkpoint yet" in text


def test_names_from_data_are_escaped(other_page):
    text = other_page
    check_nothing_leaves_it(text)
    check_is_accessible(text)
    assert "<img" not in text and "\N{RIGHT-TO-LEFT OVERRIDE}" not in text
    parsed = Page(text)
    assert any(
        "<img src=x onerror" in caption for _, caption in parsed.all("figcaption")
    )
    assert any("</pre><script>" in config for _, config in parsed.all("pre"))
    assert any(t.startswith(HOSTILE[:20]) for _, t in parsed.all("title"))


def test_runs_are_compared_side_by_side(run_dir, other_dir):
    text = page.of_runs([run_dir, other_dir])
    check_is_accessible(text)
    check_nothing_leaves_it(text)
    parsed = Page(text)
    films_ = [a["aria-label"] for a, _ in parsed.all("video")]
    assert films_ == [
        "4 generated clips of RoundTriangle, first.",
        "4 generated clips of RoundTriangle, second.",
    ]
    first, second = (a["src"] for a, _ in parsed.all("video"))
    assert first == second  # the same weights and latents
    both = f"--compare={run_dir} --compare={other_dir} --data_dir=SHARDS --output=PAGE"
    assert f"python -m tools.report {both}" in [code for _, code in parsed.all("code")]
    scores = next(t for _, t in parsed.all("table") if t.startswith("\nScores")).split()
    assert "7.375" in scores and "6.25" in scores
    losses = next(t for _, t in parsed.all("desc") if "at step" in t)
    assert "first: " in losses and "second: " in losses
    config = next(t for _, t in parsed.all("table") if "that differ" in t)
    assert "extra.parameter" in config and "NUM_STEPS" not in config


def decoded(film: films.Film) -> np.ndarray:
    data = base64.b64decode(film.source.partition(",")[2])
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    return np.stack(frames)


def test_a_film_is_the_grid_of_its_clips(demo_shards):
    rows = readers.evaluation_dataset(demo_shards, WINDOW).take(4)
    clips = np.stack([row["video"] for row in rows.as_numpy_iterator()])
    made = films.film(clips, 2, "x")
    expected = visualize.grid(clips, 2).astype(np.float64)
    found = decoded(made)
    assert found.shape == expected.shape == (4, made.height, made.width, 3)
    assert np.abs(found - expected).mean() < 3.0


def test_a_gif_becomes_a_film(run_dir):
    made = films.of_gif(f"{run_dir}/samples/samples_ema-0000006.gif", "x")
    assert decoded(made).shape == (4, made.height, made.width, 3)


class Recorder:
    """A generator with conditioning frames that records its inputs."""

    class_names = ("A", "B", "C", "D")
    num_conditioning_frames = 1
    latent = video_gan.GaussianLatent((6,))
    gan = types.SimpleNamespace(
        frame_bank=np.random.default_rng(0).integers(
            0, 256, [5, 1, 16, 16, 3], np.uint8
        )
    )

    def __init__(self):
        self.calls = []

    def videos(self, z, labels, truncation, frames):
        assert len(z) == len(labels)
        self.calls.append((z, np.asarray(labels), truncation, frames))
        return np.zeros([len(z), 2, 16, 16, 3], np.uint8)


def test_interpolations_change_only_latent_or_class():
    generator = Recorder()
    cards = films.interpolations(generator, ["A", "B", "D"])
    ends = latents.draw(generator.latent, 3, films.SEED).numpy()
    (z, labels, _, frames), (other_z, weights, _, other_frames) = generator.calls
    assert (frames == frames[0]).all() and (other_frames == frames[0]).all()
    for row, label in enumerate([0, 1, 3]):
        columns = slice(6 * row, 6 * row + 6)
        np.testing.assert_array_equal(labels[columns], label)
        np.testing.assert_allclose(z[columns][[0, -1]], ends[:2], atol=1e-6)
        np.testing.assert_array_equal(
            other_z[columns], ends[row : row + 1].repeat(6, 0)
        )
        share = np.linspace(0, 1, 6)
        zero = np.zeros(6)
        expected = np.stack([1 - share, zero, zero, share], axis=1)
        np.testing.assert_allclose(weights[columns], expected, atol=1e-6)
    assert [card.title for card in cards] == ["Between two latents", "From A to D"]


def test_the_truncation_sheet_changes_only_the_truncation():
    generator = Recorder()
    cards = films.truncation_sheet(generator, ["A", "B", "C", "D"])
    assert [call[2] for call in generator.calls] == list(films.TRUNCATIONS)
    for z, labels, *_ in generator.calls:
        np.testing.assert_array_equal(z, generator.calls[0][0])
        np.testing.assert_array_equal(labels[:9], np.repeat([0, 1, 3], 3))
    assert len(cards) == len(films.TRUNCATIONS)


def test_real_clips_belong_to_their_class(demo_shards, monkeypatch):
    monkeypatch.setattr(films, "OF_CLASS", 2)  # there are 4 of each
    names = readers.load_manifest(demo_shards).class_names
    found = films.real_clips(demo_shards, WINDOW, [names[5], "Unknown", names[2]])
    assert set(found) == {names[2], names[5]}
    rows = list(readers.evaluation_dataset(demo_shards, WINDOW).as_numpy_iterator())
    for name, clips in found.items():
        own = [row["video"] for row in rows if row["label"] == names.index(name)]
        np.testing.assert_array_equal(clips, own[:2])
    (clips,) = films.real_clips(demo_shards, WINDOW, ["video"], by_class=False).values()
    np.testing.assert_array_equal(clips, [row["video"] for row in rows[:2]])
    assert films.real_clips(demo_shards, WINDOW, ["Unknown"]) == {}


def test_memorized_clips_are_found(demo_shards):
    rows = readers.evaluation_dataset(demo_shards, WINDOW, "train")
    rows = list(rows.as_numpy_iterator())
    clips = np.stack([rows[i]["video"] for i in (3, 77)])
    metric = nearest.metric_of(())
    cards = nearest.cards({"A": clips}, demo_shards, WINDOW, metric)
    assert [card.title for card in cards] == ["A", "A"]
    for card, clip in zip(cards, clips, strict=True):
        assert card.note.startswith("Distances 0, ")
        found = decoded(card.films[1])[:, :64, :64].astype(np.float64)
        expected = clip.repeat(4, axis=1).repeat(4, axis=2)
        assert np.abs(found - expected).mean() < 6.0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "either --model_dir, or --compare"),
        (["--model_dir=x", "--compare=y"], "either --model_dir, or --compare"),
        (["--compare=x", "--output=y"], "two runs"),
        (["--compare=x,y"], "--output"),
        (["--compare=x,y", "--output=z", "--weights=w"], "--weights needs --model_dir"),
        (["--compare=x,y", "--output=/proc/no/z.html"], "cannot be written"),
        (["--model_dir=/nowhere"], "not a run's directory"),
    ],
)
def test_invalid_flags_are_one_line_errors(flags, words):
    done = run_module("tools.report", *flags)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ") and words in done.stderr


def test_the_function_of_the_command_writes_into_the_run(bare_run, capsys):
    path = page.write(bare_run)
    assert path == f"{bare_run}/report.html"
    assert f" MB: {path}\n" in capsys.readouterr().out
    with open(path) as file:
        assert file.read() == page.of_run(bare_run)


def test_mistakes_in_python_name_arguments():
    with pytest.raises(errors.UserError, match="`weights` needs `model_dir`"):
        page.write(compare=["x", "y"], output="z", weights=["w"])


# In a real browser.


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browser.chromium(str(tmp_path_factory.mktemp("chromium"))) as found:
        yield found


def show(driver, path: str, **wishes) -> None:
    browser.show(driver, f"file://{path}", **wishes)


FIRST = "document.querySelector('video')"
ALL_READY = "[...document.querySelectorAll('video')].every((v) => v.readyState >= 2)"


def test_videos_play_and_nothing_is_fetched(driver, path):
    show(driver, path)
    browser.wait_for(driver, ALL_READY)
    driver.execute_script(f"{FIRST}.scrollIntoView({{block: 'center'}})")
    browser.wait_for(driver, f"{FIRST}.currentTime > 0 && !{FIRST}.paused")
    last = "[...document.querySelectorAll('video')].at(-1)"
    assert driver.execute_script(f"return {last}.paused")  # not visible yet
    driver.execute_script(f"{last}.scrollIntoView({{block: 'center'}})")
    browser.wait_for(driver, f"{last}.currentTime > 0 && {FIRST}.paused")
    assert driver.get_log("browser") == []
    urls = browser.requested(driver)
    assert {url for url in urls if not url.startswith("data:")} == {f"file://{path}"}


def test_with_reduced_motion_videos_start_on_request(driver, path):
    show(driver, path, motion="reduce")
    browser.wait_for(driver, ALL_READY)
    driver.execute_script(f"{FIRST}.scrollIntoView({{block: 'center'}})")
    time.sleep(0.5)
    assert driver.execute_script(f"return {FIRST}.paused && {FIRST}.currentTime === 0")
    button = driver.find_element("id", "all")
    assert button.text == "Play videos"
    button.click()
    assert button.text == "Pause videos"
    browser.wait_for(driver, f"{FIRST}.currentTime > 0")


def focused(driver) -> str:
    """The element with the focus: its link, id or label."""
    return driver.execute_script(
        "const e = document.activeElement;"
        "return e.getAttribute('href') || e.id || e.getAttribute('aria-label') || ''"
    )


def test_the_keyboard_reaches_everything(driver, path):
    from selenium.webdriver.common import action_chains, keys

    def press(*pressed: str) -> None:
        action_chains.ActionChains(driver).send_keys(*pressed).perform()

    show(driver, path)
    browser.wait_for(driver, ALL_READY)
    press(keys.Keys.TAB)
    assert focused(driver) == "#main"
    skip = driver.switch_to.active_element
    assert skip.rect["y"] >= 0  # visible while focused
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert driver.execute_script(outline) == "solid"
    seen = []
    for _ in range(12):
        press(keys.Keys.TAB)
        seen.append(focused(driver))
    assert seen[:3] == ["#run", "#samples", "#weights"] and seen[10] == "all"
    assert seen[11].startswith("Pause: 4 generated clips of HorizontalCircle")
    press(keys.Keys.SPACE)
    assert focused(driver).startswith("Play: 4 generated")
    assert driver.execute_script(f"return {FIRST}.paused")
    show(driver, path)
    press(keys.Keys.TAB, keys.Keys.ENTER, keys.Keys.TAB)
    assert focused(driver).startswith("Pause: 4 generated")  # the bar was skipped


def luminance(color: str) -> float:
    """Relative luminance of a CSS color (WCAG 2)."""
    rgb = np.array(re.findall(r"\d+", color)[:3], np.float64) / 255
    linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_light_and_dark(driver, path, scheme):
    show(driver, path, scheme=scheme)

    def color(selector: str, name: str) -> float:
        return luminance(
            driver.execute_script(
                f"return getComputedStyle(document.querySelector('{selector}')).{name}"
            )
        )

    grounds = {"body": "body", ".card": ".card", "pre": "pre"}
    for text, ground in (
        *((name, name) for name in grounds),
        (".intro", "body"),
        ("nav a", "body"),
        ("summary", ".chart"),
        (".note", ".card"),
        (".film > span", ".card"),
    ):
        pair = color(text, "color"), color(ground, "backgroundColor")
        assert (max(pair) + 0.05) / (min(pair) + 0.05) >= 4.5, (text, pair)
    assert (color("body", "backgroundColor") < 0.1) == (scheme == "dark")


@pytest.mark.parametrize("width", [320, 400, 1400])
def test_the_page_fits_narrow_and_wide_windows(driver, path, width):
    show(driver, path, width=width)
    root = "document.documentElement"
    assert driver.execute_script(f"return {root}.scrollWidth <= {width}")


def test_hostile_names_run_no_scripts(driver, other_page, tmp_path):
    path = str(tmp_path / "hostile.html")
    with open(path, "w") as file:
        file.write(other_page)
    show(driver, path)
    browser.wait_for(driver, ALL_READY)
    assert driver.get_log("browser") == []
    assert driver.execute_script("return document.images.length") == 0
