"""Owns a headless Chromium for tests: starts it, looks for elements as a reader does; knows none of our pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.waiting import wait_until

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
# root has no sandbox; nothing but the pages under test is asked for
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-default-apps", "--disable-extensions", "--force-color-profile=srgb", "--hide-scrollbars"),
)
SECONDS = 10.0


class Browser:
    """One window."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get(url)

    @property
    def text(self) -> str:
        return "".join(self.texts("body"))

    @property
    def path(self) -> str:
        """Of the page that is shown, with its query."""
        return self.driver.current_url.partition("://")[2].partition("/")[2]

    def all(self, css: str) -> list[WebElement]:
        return list(self.driver.find_elements(By.CSS_SELECTOR, css))

    def texts(self, css: str) -> list[str]:
        """What the elements show; nothing while another page comes."""
        try:
            return [element.text for element in self.all(css)]
        except WebDriverException:
            return []

    def one(self, css: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def labelled(self, label: str) -> WebElement:
        """The input that the label belongs to."""
        xpath = f"//label[starts-with(normalize-space(), {label!r})]"
        found = self._awaited(xpath)
        return self.driver.find_element(By.ID, found.get_attribute("for") or "")

    def fill(self, label: str, text: str) -> None:
        place = self.labelled(label)
        place.clear()
        place.send_keys(text)

    def press(self, words: str) -> None:
        """A button or link with these words."""
        xpath = f"//button[normalize-space()={words!r}] | //a[normalize-space()={words!r}]"
        wait_until(lambda: self._clicked(xpath), SECONDS, xpath)

    def _clicked(self, xpath: str) -> bool:
        """False while it is not there, or goes away because the page keeps itself current."""
        try:
            self._awaited(xpath).click()
        except StaleElementReferenceException:
            return False
        return True

    def _awaited(self, xpath: str) -> WebElement:
        """A click returns before the next page is there."""
        return wait_until(lambda: self.driver.find_elements(By.XPATH, xpath), SECONDS, xpath)[0]

    def wait_text(self, text: str, seconds: float = SECONDS) -> None:
        wait_until(lambda: text in self.text, seconds, f"{text!r} on the page")

    def run(self, script: str, *arguments: Any) -> Any:
        """JavaScript in the page; its value."""
        return self.driver.execute_script(script, *arguments)

    def command(self, name: str, **parameters: Any) -> Any:
        """Of the Chrome DevTools Protocol."""
        return self.driver.execute_cdp_cmd(name, parameters)

    def errors(self) -> list[str]:
        """What the console shows in red, such as what the Content-Security-Policy refused."""
        log: list[dict[str, str]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in log if entry["level"] == "SEVERE"]


@contextmanager
def chromium(
    profile: Path, *, script: bool = True, size: tuple[int, int] = (1280, 900), dark: bool = False
) -> Iterator[Browser]:
    """``profile``: a directory of its own. ``script``: JavaScript is on. ``size``: of the window, in CSS pixels."""
    options = Options()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"):
        options.add_argument(flag)
    if not script:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    try:
        browser = Browser(driver)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.command("Emulation.setEmulatedMedia", features=[scheme])
        yield browser
    finally:
        driver.quit()
