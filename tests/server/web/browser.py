"""A headless Chromium, logged in to a server, with no other machine to reach; and axe, which looks for barriers."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.remote.webelement import WebElement

AXE = Path(__file__).resolve().parents[3] / "node_modules" / "axe-core" / "axe.min.js"
LIB = Path(__file__).resolve().parents[3] / "src/tunesmith/server/web/static/lib/htmx.min.js"
WAIT_S = 90.0
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def skip_without_browser() -> None:
    """Skip where there is no browser, or where ``make web`` has not run."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("no chromium and chromedriver here: apt-get install chromium chromium-driver")
    if not (AXE.is_file() and LIB.is_file()):
        pytest.skip("the web page's libraries are not here: make web")


class Browser:
    """One window."""

    def __init__(self, driver: webdriver.Chrome, base_url: str) -> None:
        self.driver, self._base_url = driver, base_url

    def open(self, path: str) -> None:
        self.driver.get(self._base_url + path if path.startswith("/") else path)

    def all(self, css: str) -> list[WebElement]:
        return list(self.driver.find_elements("css selector", css))

    def one(self, css: str) -> WebElement:
        """The first element, as soon as it is there."""
        self.until(lambda: bool(self.all(css)), css)
        return self.all(css)[0]

    def click(self, css: str, text: str = "") -> None:
        """Press a button or link; ``text`` is what it says."""
        self.until(lambda: any(text in e.text for e in self.all(css)), f"{css} {text!r}")
        element = next(e for e in self.all(css) if text in e.text)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def point_at_nothing(self) -> None:
        """The pointer into the corner: charts show what it points at."""
        actions = ActionBuilder(self.driver)
        actions.pointer_action.move_to_location(1, 1)
        actions.perform()

    def fill(self, css: str, text: str) -> None:
        field = self.one(css)
        field.clear()
        field.send_keys(text)

    def choose(self, css: str, value: str) -> None:
        self.one(f'{css} option[value="{value}"]').click()

    def says(self, *texts: str, seconds: float = WAIT_S) -> None:
        """Wait until the page shows all of the texts."""
        for text in texts:
            self.until(lambda text=text: text in self.one("body").text, f"text {text!r}", seconds)

    def until(self, so: Callable[[], bool], what: str, seconds: float = WAIT_S) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if so():
                    return
            except StaleElementReferenceException:
                pass
            time.sleep(0.1)
        shown = self.driver.find_element("css selector", "body").text[-1500:]
        raise AssertionError(f"waited in vain for {what} on {self.driver.current_url}:\n{shown}")

    def size(self, width: int, dark: bool) -> None:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def barriers(self) -> list[str]:
        """What axe finds wrong with the page."""
        # Loaded as a file of its own would be against the page's policy, so it is put in by the driver.
        self.driver.execute_script(AXE.read_text("utf-8"))
        script = """
            const done = arguments[arguments.length - 1];
            axe.run(document, {runOnly: arguments[0]}).then(found => done(found.violations));
        """
        violations: list[dict[str, Any]] = self.driver.execute_async_script(script, RULES)
        return [
            f"{v['id']}: {n['html'][:120]} {n['any'][0]['message'] if n['any'] else ''}"
            for v in violations
            for n in v["nodes"]
        ]

    def too_wide(self) -> bool:
        """Whether the page, or a list in it, has to be scrolled sideways."""
        script = """
            const wide = element => element.scrollWidth > element.clientWidth;
            const lists = [...document.querySelectorAll(".flush:has(> table.cards)")];
            return document.documentElement.scrollWidth > innerWidth || innerWidth < 760 && lists.some(wide);
        """
        return bool(self.driver.execute_script(script))

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """What the browser's console says since the last call: errors of scripts, files that were refused."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def watch_interactions(self) -> None:
        """From now on note how long the page takes to answer a key or a press with a picture."""
        self.driver.execute_script("""
            window.interactions = [];
            new PerformanceObserver(list => {
                for (const e of list.getEntries()) if (e.interactionId) interactions.push(e.duration);
            }).observe({type: "event", durationThreshold: 16});
        """)

    def slowest_interaction_ms(self) -> float:
        """Since ``watch_interactions`` on this page; what took less than 16 ms is not measured, and is 0."""
        time.sleep(0.3)  # entries come after the picture
        return float(self.driver.execute_script("return Math.max(0, ...interactions)"))

    def first_content_ms(self) -> float:
        """When the page first showed something, from the moment that it was asked for."""
        script = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1"
        self.until(lambda: self.driver.execute_script(script) > 0, "the first content")
        return float(self.driver.execute_script(script))


@contextmanager
def browser(base_url: str) -> Iterator[Browser]:
    """A window that can reach this machine alone."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        driver.set_script_timeout(60)
        window = Browser(driver, base_url)
        window.size(1280, dark=False)
        yield window
    finally:
        driver.quit()
