"""A browser without a window, for tests of pages."""

import contextlib
import json
import shutil
import time
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def chromium(folder: str) -> Iterator:
    """Selenium's driver of a Chromium that keeps its files in a folder."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chrome, chromedriver = map(shutil.which, ("chromium", "chromedriver"))
    if not chrome or not chromedriver:
        pytest.skip("Chromium and its driver are not installed")
    from selenium.webdriver.chrome import service

    options = webdriver.ChromeOptions()
    options.binary_location = chrome
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={folder}",
    ):
        options.add_argument(f"--{flag}")
    logs = {"browser": "ALL", "performance": "ALL"}
    options.set_capability("goog:loggingPrefs", logs)
    driver = webdriver.Chrome(options, service.Service(chromedriver))
    try:
        yield driver
    finally:
        driver.quit()


def show(
    driver,
    address: str,
    scheme: str = "light",
    motion: str = "no-preference",
    width: int = 1400,
) -> None:
    """Opens a page as a reader with these wishes sees it; older logs are dropped."""
    driver.get("about:blank")
    wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
    features = [{"name": name, "value": value} for name, value in wishes.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for kind in ("browser", "performance"):
        driver.get_log(kind)
    driver.get(address)


def wait_for(driver, condition: str, seconds: float = 60.0):
    """Waits until a JavaScript expression is true; gives it."""
    end = time.monotonic() + seconds
    while not (value := driver.execute_script(f"return {condition}")):
        assert time.monotonic() < end, condition
        time.sleep(0.1)
    return value


def requested(driver) -> set[str]:
    """Addresses that the page asked for since it was shown."""
    events = [
        json.loads(e["message"])["message"] for e in driver.get_log("performance")
    ]
    return {
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }
