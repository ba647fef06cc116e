"""The page in a real browser, headless Chromium, against the real server."""

import shutil
import time

import pytest
from PIL import Image

from abp_tf import data
from tests.processes import Page, Server

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason="needs Chromium and its driver on the PATH, such as Debian's chromium and chromium-driver",
)
webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium, of the extra dev")

# What a figure shows, as text that differs for other pixels.
PIXELS = "return [...document.querySelectorAll(arguments[0])].map(canvas => canvas.toDataURL())"
# Seconds to wait for anything.
LONGEST = 60


@pytest.fixture(scope="module")
def browser():
    """A browser; its console has to stay empty."""
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for switch in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(switch)
    options.add_argument("--window-size=1100,1800")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(DRIVER)
    with webdriver.Chrome(options=options, service=service) as driver:
        yield driver


@pytest.fixture(scope="module")
def url(server, exported, tmp_path_factory):
    log = tmp_path_factory.mktemp("page") / "log"
    options = ["--server", server.address, "--model", "digits", "--examples", exported]
    with Page(log, *options, "--max-upload-mb", 1) as started:
        yield started.url


class Shown:
    """A page in the browser, by the names of its elements."""

    def __init__(self, browser, url):
        self.browser = browser
        browser.get_log("browser")
        browser.get(url)
        self.wait(lambda: self["main"].is_displayed() or self["problem"].is_displayed())
        self.idle()

    def __getitem__(self, name):
        return self.browser.find_element("id", name)

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def wait(self, true):
        end = time.monotonic() + LONGEST
        while not true():
            assert time.monotonic() < end, self["problem-text"].text
            time.sleep(0.02)

    def idle(self):
        """Wait until no request is under way."""
        self.wait(lambda: not self["state"].text)

    def press(self, button):
        button.click()
        self.idle()

    def keys(self, *keys):
        webdriver.ActionChains(self.browser).send_keys(*keys).perform()

    def pixels(self, selector):
        return self.browser.execute_script(PIXELS, selector)

    def take(self, number):
        """Choose a drawn signal, and wait until it can be painted on."""
        self.all("#drawn button")[number].click()
        self.wait(lambda: self.browser.switch_to.active_element == self["canvas"])

    def complete(self):
        """Complete the signal, and return the pixels of what was observed, the mean and so on."""
        self.press(self["submit"])
        assert not self["problem"].is_displayed(), self["problem-text"].text
        return self.pixels("#completed canvas")

    def drag(self, canvas, start, end):
        """Drag the pointer over a canvas, between shares of its width and height."""
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
        width, height = canvas.size["width"], canvas.size["height"]
        places = [(int((x - 0.5) * width), int((y - 0.5) * height)) for x, y in (start, end)]
        actions = webdriver.ActionChains(self.browser)
        actions.move_to_element_with_offset(canvas, *places[0]).click_and_hold()
        actions.move_to_element_with_offset(canvas, *places[1]).release().perform()


@pytest.fixture
def shown(browser, url):
    result = Shown(browser, url)
    yield result
    # Scripts and the security policy; the browser also notes responses that are refusals.
    assert [entry for entry in browser.get_log("browser") if entry["source"] != "network"] == []


def test_painting_another_part_changes_the_completion(shown):
    shown.drag(shown["canvas"], (0.2, 0.2), (0.8, 0.2))
    first = shown.complete()
    assert len(first) == 3 + 4  # observed, mean, deviation, draws
    shown.drag(shown["canvas"], (0.2, 0.7), (0.8, 0.7))
    second = shown.complete()
    assert all(one != other for one, other in zip(first, second, strict=True))
    shown["complete-seed"].send_keys("7")
    third = shown.complete()
    assert third[0] == second[0]
    assert third[3] != second[3]
    assert "The server took" in shown["taken"].text


def test_the_chosen_example_is_what_is_completed(shown):
    shown["hide"].click()
    first = shown.complete()
    shown.all("[name=source]")[1].click()
    assert shown.complete()[0] != first[0]
    shown["clear"].click()
    shown["submit"].click()
    shown.idle()
    assert "hidden" in shown["problem-text"].text  # nothing is


def test_drawn_signals_can_be_completed_and_slid_between(shown):
    shown.press(shown.all("#draw [type=submit]")[0])
    drawn = shown.pixels("#drawn canvas")
    assert len(set(drawn)) == 8
    shown.take(2)
    assert shown.all("#sources label")[-1].text.strip() == "seed 2"
    shown["hide"].click()
    assert shown.complete()
    shown.press(shown.all("#slide [type=submit]")[0])
    seen = set(shown.pixels("#between canvas"))
    for _ in range(10):
        shown["share"].send_keys(webdriver.Keys.ARROW_RIGHT)
        seen |= set(shown.pixels("#between canvas"))
    assert len(seen) > 5


def test_everything_is_reached_and_done_by_the_keyboard(shown):
    reached = []
    for _ in range(60):
        shown.keys(webdriver.Keys.TAB)
        focused = shown.browser.switch_to.active_element
        reached.append(focused.get_attribute("id") or focused.text or focused.get_attribute("name"))
        if reached[-1] == "canvas":
            before = shown["canvas-state"].text
            shown.keys(webdriver.Keys.ARROW_UP, webdriver.Keys.ARROW_LEFT, webdriver.Keys.SPACE)
            after = shown["canvas-state"].text
        if reached[-1] == "submit":
            shown.keys(webdriver.Keys.ENTER)
            shown.idle()
            break
    wanted = ["draw-seed", "draw-count", "Draw", "source", "upload", "canvas", "mode", "size"]
    wanted += ["top", "left", "height", "width", "hide", "complete-seed", "clear", "submit"]
    assert [name for name in reached if name in wanted] == wanted
    assert "Row 5, column 5: observed. 0.0 %" in before
    assert "Row 4, column 4: hidden. 1.6 %" in after
    assert len(shown.pixels("#completed canvas")) == 7
    unnamed = [
        part.get_attribute("outerHTML")
        for part in shown.all("button, input, select, canvas")
        if part.is_displayed()
        and not part.accessible_name
        and part.find_elements("xpath", "ancestor::label") == []
    ]
    assert unnamed == []


def test_a_file_that_is_refused_is_named_and_another_is_taken(shown, digits, tmp_path):
    count = len(shown.all("#sources label"))
    for name, content, words in (
        ("notes.png", b"no image", "notes.png"),
        ("large.png", bytes(2**20 + 1), "at most 1 MB"),
    ):
        (tmp_path / name).write_bytes(content)
        shown["upload"].send_keys(str(tmp_path / name))
        shown.wait(lambda words=words: words in shown["upload-problem"].text)
        shown.idle()
    Image.fromarray(data.to_uint8(digits[9])[..., 0]).save(tmp_path / "nine.png")
    shown["upload"].send_keys(str(tmp_path / "nine.png"))
    shown.wait(lambda: len(shown.all("#sources label")) == count + 1)
    shown.idle()
    assert not shown["upload-problem"].is_displayed()
    assert shown.all("[name=source]")[-1].is_selected()
    shown["hide"].click()
    assert len(shown.complete()) == 7


def test_nothing_is_loaded_from_elsewhere(shown, url):
    shown.press(shown.all("#draw [type=submit]")[0])
    script = "return performance.getEntriesByType('resource').map(one => one.name)"
    loaded = shown.browser.execute_script(script)
    assert len(loaded) >= 4
    assert [name for name in loaded if not name.startswith((url, "data:"))] == []


@pytest.mark.slow
def test_a_server_that_goes_is_named_and_taken_up_again(browser, exported, tmp_path):
    served = ["--model", f"digits={exported}"]
    with Server(tmp_path / "server", *served) as server:
        address = server.address
        with Page(tmp_path / "page", "--server", address, "--model", "digits") as page:
            shown = Shown(browser, page.url)
            server.stop()
            shown.press(shown.all("#draw [type=submit]")[0])
            assert f"{address} is away" in shown["problem-text"].text
            assert shown.all("#drawn canvas") == []
            port = address.rpartition(":")[2]
            with Server(tmp_path / "again", *served, "--port", port) as again:
                assert again.address == address

                def there():
                    shown.press(shown["again"])
                    return not shown["problem"].is_displayed()

                shown.wait(there)  # gRPC waits before it connects again
                shown.press(shown.all("#draw [type=submit]")[0])
                assert len(shown.all("#drawn canvas")) == 8


@pytest.mark.slow
def test_sounds_are_played_and_have_a_gap_to_drag(browser, address, tmp_path):
    words = ["--server", address, "--model", "sound", "--rate", 8000]
    with Page(tmp_path / "page", *words) as page:
        shown = Shown(browser, page.url)
        shown.press(shown.all("#draw [type=submit]")[0])
        ready = "return document.querySelector('#drawn audio').readyState"
        shown.wait(lambda: browser.execute_script(ready) > 0)
        length = "return document.querySelector('#drawn audio').duration"
        assert browser.execute_script(length) == pytest.approx(96 / 8000)
        shown.take(0)
        shown.drag(shown["canvas"], (0.251, 0.5), (0.495, 0.5))
        assert "25.0 % is hidden" in shown["canvas-state"].text
        shown.drag(shown["canvas"], (0.251, 0.5), (0.37, 0.5))  # a drag replaces the gap
        assert "12.5 % is hidden" in shown["canvas-state"].text
        completed = shown.complete()
        assert len(shown.all("#completed audio")) == len(completed) - 1  # not of the deviation


@pytest.mark.slow
def test_clips_are_shown_frame_by_frame_and_play(browser, address, tmp_path):
    with Page(tmp_path / "page", "--server", address, "--model", "video") as page:
        shown = Shown(browser, page.url)
        shown.press(shown.all("#draw [type=submit]")[0])
        first = shown.pixels("#drawn canvas")
        shown["plane"].send_keys(webdriver.Keys.ARROW_RIGHT)
        second = shown.pixels("#drawn canvas")
        assert all(one != other for one, other in zip(first, second, strict=True))
        shown["play"].click()
        shown.wait(lambda: shown.pixels("#drawn canvas") not in (first, second))
        shown["play"].click()
        still = shown.pixels("#drawn canvas")
        time.sleep(0.5)
        assert shown.pixels("#drawn canvas") == still
        shown.take(0)
        for name, value in (("from", "2"), ("to", "3")):
            shown[name].clear()
            shown[name].send_keys(value)
        shown["hide"].click()
        assert "12.5 % is hidden" in shown["canvas-state"].text  # a quarter of two of four frames
        assert len(shown.complete()) == 7
