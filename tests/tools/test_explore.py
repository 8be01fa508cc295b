"""The explorer: its page in a real browser, and the requests that it rejects."""

import asyncio
import base64
import dataclasses
import http.client
import inspect
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import types
import urllib.parse

import browser
import numpy as np
import pytest
from conftest import run_process

from tf_dvdgan import cli, config, errors, explorer, export, generators, trained
from tf_dvdgan.data import clip_files, video_io, video_reader, windows
from tf_dvdgan.models import video_gan
from tf_dvdgan.sampling import latents
from tools import explore

pytest.importorskip("nicegui")
page_lib = pytest.importorskip("tf_dvdgan.explorer.page")
server = pytest.importorskip("tf_dvdgan.explorer.server")
studio_lib = pytest.importorskip("tf_dvdgan.explorer.studio")


SIDE, FRAMES, GIVEN, STRIDE = 16, 8, 3, 2
BROKEN_SEED = 666


class Fake(generators.Generator):
    """Shows its inputs as colors: conditioning frames, then latent and class."""

    def __init__(self, keeps_frames: bool = True):
        window = windows.Window(FRAMES, SIDE, STRIDE)
        super().__init__(
            {
                "class_names": ["Punch", "Biking", "<b>Diving</b>"],
                "num_conditioning_frames": GIVEN,
                "window": dataclasses.asdict(window),
                "latent": {"sizes": (4,), "stddevs": (1.0,)},
                "metadata": {"model": "fake.Generator", "step": 7, "weights": "abc"},
            }
        )
        self.keeps_frames = keeps_frames
        self.asked = []
        self.at_work = self.most_at_work = 0

    def videos(self, z, labels, truncation=1.0, frames=None, batch_size=16):
        if frames is None and not self.keeps_frames:
            raise errors.UserError("keeps none")
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        self.asked.append((z, labels, truncation, frames))
        time.sleep(0.02)
        self.at_work -= 1
        if np.allclose(z, self.broken):
            raise RuntimeError("out of order")
        color = 128 + 60 * np.tanh(truncation * z[:, :3])
        videos = np.zeros([len(z), FRAMES, SIDE, SIDE, 3])
        videos[:, :, :, 4:] = color[:, None, None, None]
        videos[:, :, :, :4] = 200 * labels[:, None, None, None]
        videos[:, :GIVEN] = 0 if frames is None else frames
        return videos.astype(np.uint8)

    @property
    def broken(self):
        """The latent that raises an error."""
        return latents.draw(self.latent, 1, BROKEN_SEED)


@pytest.fixture(scope="module")
def fake():
    return Fake()


@pytest.fixture(scope="module")
def address(fake):
    """URL of the fake generator's page."""
    import uvicorn

    app = server.application(fake, "127.0.0.1")
    with server.listen("127.0.0.1", 0) as listener:
        running = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        yield server.url_of(listener)
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browser.chromium(str(tmp_path_factory.mktemp("chromium"))) as driver:
        yield driver


@pytest.fixture
def page(driver, address):
    """The page, showing its first video."""
    browser.show(driver, address)
    shown(driver, {"Class": "Punch", "Seed": "0", "Truncation": "1"})
    return driver


METADATA = """Object.fromEntries([...document.querySelectorAll('.metadata div')].map(
    (e) => [e.children[0].textContent, e.children[1].textContent]))"""


def shown(driver, metadata: dict[str, str]) -> str:
    """Waits for a video with these parameters; returns its source."""
    browser.wait_for(
        driver, f"JSON.stringify({METADATA}) === {json.dumps(_js(metadata))}"
    )
    return browser.wait_for(
        driver,
        "(v => v && v.readyState >= 2 && v.src)(document.querySelector('video'))",
    )


def _js(metadata: dict[str, str]) -> str:
    return json.dumps(metadata, separators=(",", ":"), ensure_ascii=False)


def labeled(driver, name: str):
    return driver.find_element("css selector", f'[aria-label="{name}"]')


def fill(driver, name: str, text: str) -> None:
    from selenium.webdriver.common.keys import Keys

    field = labeled(driver, name)
    field.send_keys(Keys.CONTROL + "a")
    field.send_keys(text + Keys.TAB)


def choose(driver, name: str, option: str) -> None:
    labeled(driver, name).click()
    xpath = f'//*[@role="option"][contains(., "{option}")]'
    browser.wait_for(driver, f"document.evaluate('{xpath}',document).iterateNext()")
    driver.find_element("xpath", xpath).click()


def test_the_page_shows_a_video_and_loads_nothing_from_elsewhere(page, address):
    shown(page, {"Class": "Punch", "Seed": "0", "Truncation": "1"})
    browser.wait_for(page, "document.querySelector('video').currentTime > 0")
    assert "fake.Generator, step 7" in page.page_source
    assert page.get_log("browser") == []
    own = (address, "data:", address.replace("http", "ws"))
    # Chromium's own start page may still be loading.
    foreign = [u for u in browser.requested(page) if not u.startswith((*own, "chrome"))]
    assert foreign == []


def test_with_reduced_motion_videos_do_not_start(driver, address):
    browser.show(driver, address, motion="reduce", scheme="dark", width=400)
    shown(driver, {"Class": "Punch", "Seed": "0", "Truncation": "1"})
    time.sleep(0.3)
    assert driver.execute_script("return document.querySelector('video').paused")
    dark = "getComputedStyle(document.body).backgroundColor === 'rgb(18, 20, 24)'"
    browser.wait_for(driver, dark)
    page = "document.documentElement"
    browser.wait_for(driver, f"{page}.scrollWidth === {page}.clientWidth")


def test_class_and_seed_make_the_video(page):
    first = shown(page, {"Class": "Punch", "Seed": "0", "Truncation": "1"})
    fill(page, "Seed", "5")
    other = shown(page, {"Class": "Punch", "Seed": "5", "Truncation": "1"})
    choose(page, "Class", "Biking")
    third = shown(page, {"Class": "Biking", "Seed": "5", "Truncation": "1"})
    assert len({first, other, third}) == 3
    choose(page, "Class", "Punch")
    fill(page, "Seed", "0")
    assert first == shown(page, {"Class": "Punch", "Seed": "0", "Truncation": "1"})
    labeled(page, "Seed: randomize").click()
    browser.wait_for(page, f"({METADATA}).Seed !== '0'")


def test_class_names_are_escaped(page):
    choose(page, "Class", "Diving")
    shown(page, {"Class": "<b>Diving</b>", "Seed": "0", "Truncation": "1"})
    assert page.find_elements("css selector", "b") == []


def test_truncation_has_a_slider_and_a_field(page):
    from selenium.webdriver.common.keys import Keys

    slider = labeled(page, "Truncation, slider")
    slider.find_element("css selector", "[tabindex]").send_keys(Keys.ARROW_LEFT)
    video = shown(page, {"Class": "Punch", "Seed": "0", "Truncation": "0.95"})
    fill(page, "Truncation", "0.5")
    metadata = {"Class": "Punch", "Seed": "0", "Truncation": "0.5"}
    assert shown(page, metadata) != video
    assert slider.get_attribute("aria-valuenow") == "0.5"


def switch(driver) -> None:
    driver.find_element("css selector", "[role=switch]").click()


def test_the_interpolation_leads_from_one_sample_to_the_other(page):
    first = shown(page, {"Class": "Punch", "Seed": "0", "Truncation": "1"})
    switch(page)
    base = {"Class": "Punch", "Seed": "0", "Truncation": "1"}
    half = shown(page, base | {"Interpolation": "50% to Biking, seed 1"})
    fill(page, "Position", "1")
    end = shown(page, base | {"Interpolation": "100% to Biking, seed 1"})
    fill(page, "Position", "0")
    assert shown(page, base) == first
    switch(page)
    choose(page, "Class", "Biking")
    fill(page, "Seed", "1")
    direct = shown(page, {"Class": "Biking", "Seed": "1", "Truncation": "1"})
    assert end == direct and half not in (first, end)


def test_an_invalid_seed_shows_an_error(page):
    fill(page, "Seed", "-3")
    browser.wait_for(page, "document.body.innerText.includes('Enter a whole number')")
    fill(page, "Seed", "4")
    shown(page, {"Class": "Punch", "Seed": "4", "Truncation": "1"})


def error(driver, words: str) -> None:
    alert = "document.querySelector('[role=alert]').innerText"
    browser.wait_for(driver, f"{alert}.includes({json.dumps(words)})")


def test_a_failure_of_the_model_shows_an_error(page):
    fill(page, "Seed", str(BROKEN_SEED))
    error(page, "could not be generated; the terminal shows the error")
    fill(page, "Seed", "0")
    browser.wait_for(page, "!document.querySelector('[role=alert]').offsetParent")


def test_the_shown_video_can_be_downloaded(page, tmp_path):
    where = {"behavior": "allow", "downloadPath": str(tmp_path)}
    page.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    for kind in ("MP4", "GIF"):
        labeled(page, f"Download as {kind}").click()
    paths = [tmp_path / "Punch-0.mp4", tmp_path / "Punch-0.gif"]
    end = time.monotonic() + 20
    while not all(path.exists() for path in paths):
        assert time.monotonic() < end, os.listdir(tmp_path)
        time.sleep(0.1)
    frames = list(video_reader.VideoReader(str(paths[0])))
    assert np.shape(frames) == (FRAMES, SIDE, SIDE, 3)
    assert b'"seed": 0' in paths[1].read_bytes()


@pytest.fixture
def clip(tmp_path) -> str:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, [12, 2, 3, 3], np.uint8).repeat(16, 1).repeat(16, 2)
    path = str(tmp_path / "mine & yours.avi")
    video_io.write_video(path, frames)
    return path


def upload(driver, path) -> None:
    driver.find_element("css selector", "input[type=file]").send_keys(str(path))


def test_an_uploaded_clip_is_continued(page, fake, clip):
    upload(page, clip)
    metadata = {"Class": "Punch", "Seed": "0", "Truncation": "1"}
    name = "mine & yours.avi"
    first = shown(page, metadata | {"Clip": f"{name}, frame 0"})
    given = fake.asked[-1][-1][0]
    np.testing.assert_array_equal(
        given, clip_files.read_frames(clip, GIVEN, STRIDE, 0, SIDE)
    )
    fill(page, "First frame", "4")
    assert shown(page, metadata | {"Clip": f"{name}, frame 4"}) != first
    given = fake.asked[-1][-1][0]
    np.testing.assert_array_equal(
        given, clip_files.read_frames(clip, GIVEN, STRIDE, 4, SIDE)
    )
    fill(page, "First frame", "11")
    error(page, f"{name} is too short: the model needs 3 conditioning frames")


def test_a_file_that_is_not_a_video_shows_an_error(page, tmp_path):
    path = tmp_path / "list.mp4"
    path.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n")
    upload(page, path)
    error(page, "list.mp4 cannot be used: not a video")


def test_a_clip_that_would_fill_the_memory_shows_an_error(page, tmp_path):
    """A GIF of 296 bytes, 16,000 pixels wide and high."""
    path = tmp_path / "bomb.gif"
    size = (16000).to_bytes(2, "little") * 2
    image = b"\x2c" + bytes(4) + size + b"\x00\x02\x02\x4c\x01\x00"
    path.write_bytes(
        b"GIF89a" + size + b"\x80\x00\x00" + bytes(6) + 13 * image + b"\x3b"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    upload(page, path)
    error(page, "bomb.gif cannot be used: an animation has over 16 million pixels")
    after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert after <= max(before + 100_000, 1_000_000)  # in kB; others may end meanwhile


def test_files_of_other_types_or_too_large_are_rejected(page, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("notes")
    upload(page, path)
    error(page, "not one of these types: mp4,")
    path = tmp_path / "large.mp4"
    with open(path, "wb") as file:
        file.truncate(page_lib.LARGEST_UPLOAD + 1)
    upload(page, path)
    error(page, "The file is larger than 100 MB")


def test_a_model_without_stored_frames_asks_for_a_clip(driver, address, fake, clip):
    fake.keeps_frames = False
    browser.show(driver, f"{address}?again")
    fill(driver, "Seed", "77")
    error(driver, "needs conditioning frames: choose a clip")
    upload(driver, clip)
    clip = "mine & yours.avi, frame 0"
    metadata = {"Class": "Punch", "Seed": "77", "Truncation": "1", "Clip": clip}
    shown(driver, metadata)
    fake.keeps_frames = True


# Without a browser.


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("GET", {"Host": "localhost:80"}, 200),
        ("GET", {"Host": "evil.example"}, 400),
        ("GET", {"Host": "evil.example", "Origin": "http://evil.example"}, 400),
        ("GET", {"Origin": "http://evil.example"}, 403),
        ("GET", {"Origin": "null"}, 403),
        ("POST", {"Content-Length": str(2 * page_lib.LARGEST_UPLOAD)}, 413),
        ("POST", {"Transfer-Encoding": "chunked"}, 411),
    ],
)
def test_foreign_and_oversized_requests_are_rejected(address, method, headers, status):
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc)
    connection.request(method, "/", headers=headers)
    response = connection.getresponse()
    assert response.status == status
    if status == 200:
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]


def test_another_origin_cannot_open_the_websocket(address):
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc)
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
    }
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    connection.request("GET", path, headers={**upgrade, "Origin": "http://evil.com"})
    assert connection.getresponse().status == 403


def test_videos_are_generated_one_at_a_time_and_outdated_requests_are_skipped():
    generator = Fake()
    studio = studio_lib.Studio(generator)

    async def ask():
        wishes = [studio_lib.VideoRequest(0, seed, 1.0) for seed in range(6)]
        return await asyncio.gather(
            *(studio.video(w, lambda w=w: w.seed != 3) for w in [*wishes, wishes[0]])
        )

    videos = asyncio.run(ask())
    assert [video is None for video in videos] == [i == 3 for i in range(7)]
    assert generator.most_at_work == 1
    assert len(generator.asked) == 5 and videos[0] is videos[6]


def test_ctrl_c_ends_the_reading_of_an_upload():
    script = """
import os, signal, threading, time, types
from tf_dvdgan.data import clip_files
from tf_dvdgan.explorer import server, studio

def endless(path, count, stride, start, resolution, reader):
    threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
    while not reader.closed:
        time.sleep(0.01)
    print("stopped")

clip_files.read_frames = endless
generator = types.SimpleNamespace(
    name="fake", num_conditioning_frames=2, stride=1, resolution=16
)
studios, make = [], studio.Studio
studio.Studio = lambda generator: studios.append(make(generator)) or studios[-1]
listener = server.listen("127.0.0.1", 0)
app = server.application(generator, "127.0.0.1")

def upload():
    time.sleep(1)
    studios[0].read_frames("mine.avi", b"video", 0)

threading.Thread(target=upload).start()
server.serve(app, listener)
"""
    done = run_process("-c", script, timeout=60)
    assert done.returncode == 0 and done.stdout == "stopped\n", done.stderr


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.2", False),
        ("example.com", False),
    ],
)
def test_loopback_addresses_are_recognized(host, expected):
    assert server.is_loopback(host) is expected


def test_a_port_in_use_is_a_user_error():
    with server.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(
            errors.UserError, match=f"port {port}: Address already in use"
        ):
            server.listen("127.0.0.1", port)


def test_without_nicegui_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "tf_dvdgan.explorer.server")
    monkeypatch.delattr(explorer, "server")
    monkeypatch.setitem(sys.modules, "nicegui", None)
    with pytest.raises(errors.UserError, match=r"pip install 'tf_dvdgan\[explore\]'"):
        explorer.explore()


def test_an_autoencoder_cannot_be_explored(monkeypatch):
    sizes = [f"RESOLUTION = {SIDE}", f"NUM_FRAMES = {FRAMES}", f"STRIDE = {STRIDE}"]
    config.load(["models/vgan_autoencoder.gin"], [*sizes, "CH = 2"])
    gan = video_gan.from_config(["video"])
    gan.build()
    window = windows.Window(FRAMES, SIDE, STRIDE)
    model = trained.TrainedModel(gan, ["video"], 7, window)
    autoencoder = generators.RunGenerator(model)
    monkeypatch.setattr(generators, "open_generator", lambda **_: autoencoder)
    monkeypatch.setattr(cli, "generator_flags", lambda: {"model_dir": "run"})
    flags = {"host": "127.0.0.1", "port": 0, "open_browser": False}
    monkeypatch.setattr(explore, "FLAGS", types.SimpleNamespace(**flags))
    with pytest.raises(errors.UserError, match="step 7 is an autoencoder"):
        explore.main([])


@pytest.mark.parametrize(
    ("named", "opened"),
    [
        (
            {"model_dir": None},
            {"model_dir": None, "pretrained": "dvdgan_v2_shapes"},
        ),
        ({"model_dir": "run"}, {"model_dir": "run"}),
    ],
)
def test_without_a_model_it_opens_one_of_the_package(named, opened, monkeypatch):
    found = []

    signature = inspect.signature(generators.open_generator)

    def record(**arguments):
        signature.bind(**arguments)
        found.append(arguments)
        raise errors.UserError("seen")

    monkeypatch.setattr(generators, "open_generator", record)
    monkeypatch.setattr(cli, "generator_flags", lambda: dict(named))
    flags = {"host": "127.0.0.1", "port": 0, "open_browser": False}
    monkeypatch.setattr(explore, "FLAGS", types.SimpleNamespace(**flags))
    with pytest.raises(errors.UserError, match="seen"):
        explore.main([])
    assert found == [opened]
    with pytest.raises(errors.UserError, match="seen"):  # from Python, without flags
        explorer.explore(port=0)
    assert found[1] == {"pretrained": "dvdgan_v2_shapes"}


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory) -> str:
    """A real model with conditioning frames and random weights."""
    sizes = [f"RESOLUTION = {SIDE}", f"NUM_FRAMES = {FRAMES}", f"STRIDE = {STRIDE}"]
    given = f"CONDITIONING_FRAMES = {GIVEN}"
    judged = "dvd_gan.SpatialDiscriminator.num_frames = 2"
    config.load(["models/dvdgan_fp_v2.gin"], [*sizes, given, judged, "CH = 2"])
    gan = video_gan.from_config(["video"])
    gan.build()
    gan.frame_bank = np.zeros([4, GIVEN, SIDE, SIDE, 3], np.uint8)
    window = windows.Window(FRAMES, SIDE, STRIDE)
    folder = str(tmp_path_factory.mktemp("saved") / "7")
    export.export(
        trained.TrainedModel(gan, ["video"], 7, window),
        folder,
        truncations=(0.5, 1.0),
        num_batches=1,
        batch_size=4,
    )
    return folder


@pytest.fixture
def command(saved_model):
    """The command as a user runs it."""
    flags = [f"--saved_model={saved_model}", "--port=0"]
    with subprocess.Popen(
        [sys.executable, "-m", "tools.explore", *flags],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


@pytest.mark.slow  # the studio and the page are tested above
def test_the_command_explores_a_model_until_interrupted(
    driver, command, clip, tmp_path
):
    line = command.stdout.readline()
    url = re.search(r"step 7: (http://127\.0\.0\.1:\d+/)", line)
    browser.show(driver, url[1])
    error(driver, "needs conditioning frames: choose a clip")
    upload(driver, clip)
    metadata = {"Seed": "0", "Truncation": "1", "Clip": "mine & yours.avi, frame 0"}
    first = shown(driver, metadata)
    fill(driver, "Seed", "1")
    assert first != shown(driver, metadata | {"Seed": "1"})
    assert driver.get_log("browser") == []
    frames = decoded(first, tmp_path)[:GIVEN]
    taken = clip_files.read_frames(clip, GIVEN, STRIDE, 0, SIDE)
    assert np.abs(frames - taken.astype(int)).mean() < 8  # H.264 is lossy
    command.send_signal(signal.SIGINT)
    assert "The explorer has ended." in command.communicate(timeout=30)[0]
    assert command.returncode == 0


def decoded(source: str, folder) -> np.ndarray:
    """The frames of a `data:` URL, in their original size."""
    path = folder / "shown.mp4"
    path.write_bytes(base64.b64decode(source.partition(",")[2]))
    frames = np.stack(list(video_reader.VideoReader(str(path)))).astype(int)
    scale = frames.shape[1] // SIDE
    return frames[:, scale // 2 :: scale, scale // 2 :: scale]
