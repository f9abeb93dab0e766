"""The page in headless Chromium, where it and its driver are installed; nothing here runs otherwise.

Covered: no console message, no request beyond the file, hostile names as text, hover, pin, keyboard, sorting, theme,
no sideways scrolling at 390 and 1440 px, axe-core's rules in light and dark (the `browser` extra brings it; AXE_CORE
names another axe.min.js). Not covered: how it looks.
"""

import json
import os
import shutil
import tempfile
from importlib import resources
from pathlib import Path

import pytest

from drlbench.report.build import build_report

pytestmark = pytest.mark.long
selenium = pytest.importorskip("selenium", reason="selenium is not installed: the page is not tried in a browser")
CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
if not (CHROMIUM and DRIVER):
    pytest.skip(
        "chromium or chromedriver is not installed: the page is not tried in a browser", allow_module_level=True
    )

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module", params=["plain", "hostile"])
def page(request, run_dir, hostile_dir):
    source = run_dir if request.param == "plain" else hostile_dir
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(source, f"{folder}/run")
        build_report(Path(copy))
        yield f"file://{copy}/report.html", request.param == "hostile"


@pytest.fixture(params=[390, 1440])
def browser(request, tmp_path):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path}/profile"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    # A window cannot be narrower than about 500 px; the emulated screen can.
    screen = {"width": request.param, "height": 900, "deviceScaleFactor": 1, "mobile": request.param < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    yield driver
    driver.quit()


def test_the_page_works_and_stays_at_home(page, browser):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    def script(code, *arguments):
        return browser.execute_script(code, *arguments)

    def move(point, click=False):
        size = canvas.size
        at = round(point["x"] - size["width"] / 2), round(point["y"] - size["height"] / 2)
        chain = ActionChains(browser).move_to_element_with_offset(canvas, *at)
        (chain.click() if click else chain).perform()
        ActionChains(browser).pause(0.1).perform()

    url, hostile = page
    browser.get(url)
    canvas = browser.find_element(By.ID, "frontier-chart")
    script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    assert script("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    points = script("return window.frontierPoints()")
    assert len(points) > 10

    move(points[3])
    shown = browser.find_element(By.ID, "detail")
    assert points[3]["id"].split("/seed=")[1] in shown.text
    assert shown.find_elements(By.TAG_NAME, "img") and "sig-fd" in shown.text
    move(points[3], click=True)
    move(points[-1], click=True)
    pins = [browser.find_element(By.ID, f"pin-{i}") for i in (0, 1)]
    assert all(p.find_elements(By.TAG_NAME, "img") for p in pins)

    plot = browser.find_element(By.ID, "plot")
    plot.send_keys(Keys.ESCAPE)
    assert not pins[0].is_displayed()
    plot.send_keys(Keys.ARROW_RIGHT, Keys.ENTER)
    assert pins[0].is_displayed()
    assert "seed 0." in browser.find_element(By.ID, "live").get_attribute("textContent")

    first = "return [...document.querySelector('table.sortable').tBodies[0].rows].map(r => r.cells[4].textContent)"
    before = script(first)
    script("document.querySelector('table.sortable thead th:nth-child(5) button').click()")
    after = script(first)
    assert sorted(before) == sorted(after) and before != after
    values = [float(v.split(" ")[0].replace("−", "-")) for v in after[:-1]]
    assert values == sorted(values)

    script("document.getElementById('theme').click()")
    background = script("return getComputedStyle(document.body).backgroundColor")
    script("document.getElementById('theme').click()")
    assert background != script("return getComputedStyle(document.body).backgroundColor")

    assert browser.get_log("browser") == []
    sent = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    assert [u for u in urls if not u.startswith(("data:", "file:", "chrome:", "chrome-untrusted:"))] == []
    text = browser.find_element(By.TAG_NAME, "body").text
    assert ("<script>alert(1)</script>" in text and "=cmd()" in text and "onerror=alert(2)>" in text) == hostile


def test_any_two_models_blink_by_the_keyboard_alone(page, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(page[0])
    cells = browser.execute_script("return DATA.cells.map(c => [c.backbone, c.run, c.seed].join(' '))")
    browser.find_element(By.ID, "pick-0").send_keys(Keys.HOME, Keys.DOWN)  # below "none": the first backbone's first
    browser.find_element(By.ID, "pick-1").send_keys(Keys.END, Keys.TAB)  # the last backbone's last
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    box = browser.find_element(By.ID, "large")
    seen = {}

    def took_turns(_):
        name, source = browser.execute_script(
            "return ['h3', 'img'].map(t => arguments[0].querySelector(t)).map(e => e.src || e.textContent)", box
        )  # at one moment, not between two turns
        seen[name] = source
        return len(seen) == 2

    WebDriverWait(browser, 20, 0.05).until(took_turns)
    assert [name.split()[0] for name in sorted(seen)] == sorted({c.split()[0] for c in cells})
    assert len(set(seen.values())) == 2
    assert box.find_element(By.CLASS_NAME, "labels").find_elements(By.TAG_NAME, "li")
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not box.is_displayed() and browser.get_log("browser") == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(page, browser, theme):
    url, _ = page
    named = os.environ.get("AXE_CORE")
    if not named:
        pytest.importorskip("axe_core_python", reason="axe-core is not installed: the page is not tried by its rules")
    axe = Path(named) if named else resources.files("axe_core_python") / "axe.min.js"
    scheme = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    browser.get(url)
    browser.set_script_timeout(180)
    browser.execute_script(axe.read_text(encoding="utf-8"))
    found = browser.execute_async_script("const done = arguments[0]; axe.run().then(r => done(r.violations))")
    told = {v["id"]: (v["impact"], [n["target"] for n in v["nodes"]][:3]) for v in found}
    assert {rule: told[rule] for rule in told if told[rule][0] in ("serious", "critical")} == {}


def test_filters_hold_for_the_whole_page_and_stand_in_the_address(page, browser):
    url, hostile = page
    browser.get(url)

    def script(code, *arguments):
        return browser.execute_script(code, *arguments)

    def choose(name, value):
        script(
            "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
            "s.dispatchEvent(new Event('change'))",
            *(f"only-{name}", value),
        )

    def shown():
        return script(
            "return [...document.querySelectorAll('table.sortable')].map(t => [...t.rows].filter(r => !r.hidden)"
            ".map(r => [...r.cells].filter(c => !c.hidden).map(c => c.textContent)))"
        )

    choose("backbone", "large")
    choose("space", "pixels")
    script("[...document.querySelectorAll('#filters .family')].find(b => b.textContent === 'sft').click()")
    tables = shown()
    names = [row[0] for row in tables[0][1:]]
    assert len(names) == 5 and all(n.startswith("large") and "sft" not in n for n in names)
    assert [h for h in tables[0][0] if h.startswith("FD")] == ["FD pixels"]
    assert all(row[0] == "large" for table in tables[1:] for row in table[1:] if row[1] != "real images")
    assert script("return document.getElementById('backbone').value") == "large"
    assert script("return document.getElementById('axis-x').value") == "fd@pixels"
    linked = script("return location.href")
    browser.get("about:blank")
    browser.get(linked)
    assert shown() == tables
    seeds = script("return document.getElementById('seeds-table').tBodies[0].rows.length")
    assert seeds == len(script("return DATA.cells")) and browser.get_log("browser") == []
    if script("return innerWidth") > 1000:  # the scorecard and the frontier share the first screen
        tops = script("return ['.stacked', '#plot'].map(s => document.querySelector(s).getBoundingClientRect().top)")
        assert max(tops) < 900 or hostile
