"""Uses a report in a real Chromium: report_browser.py REPORT.html FOLDER [EXPECTED]

Opens the file, works with sliders, filters and search by keyboard, looks at it in light and dark and at
two widths, and fails on any message on the console, any request, any page wider than its window.
Screenshots go to FOLDER. EXPECTED is how many clips the report's thresholds keep. Needs `selenium` and
Debian's `chromium` and `chromium-driver`; nothing is downloaded.
"""

import json
import pathlib
import re
import sys
import time

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

report = pathlib.Path(sys.argv[1]).resolve()
folder = pathlib.Path(sys.argv[2])
expected = int(sys.argv[3]) if len(sys.argv) > 3 else None
folder.mkdir(parents=True, exist_ok=True)

options = webdriver.ChromeOptions()
options.binary_location = "/usr/bin/chromium"
for argument in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--hide-scrollbars", "--force-device-scale-factor=1"]:
    options.add_argument(argument)
options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
browser = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))


def find(selector):
    return browser.find_element(By.CSS_SELECTOR, selector)


def script(text, *arguments):
    return browser.execute_script(f"return {text}", *arguments)


def until(condition, what, seconds=5):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def number(text):
    """The first number of a text, which has thin spaces between thousands."""
    return int(re.search(r"\d[\d\u202f]*", text).group().replace("\u202f", ""))


def kept():
    return number(find("#kept").text)


def press(*keys):
    webdriver.ActionChains(browser).send_keys(*keys).perform()


def media(scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def width(pixels):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": pixels < 500})


def check_width(where, pixels):
    # Not `innerWidth`: a phone zooms out until what is too wide fits, and that grows with it.
    scroll = script("document.documentElement.scrollWidth")
    assert scroll <= pixels, f"{where}: {scroll} pixels wide in a window of {pixels}"


def background():
    return script("getComputedStyle(document.body).backgroundColor")


def brightness():
    return sum(int(part) for part in re.findall(r"\d+", background())[:3]) / 3


def check_start():
    assert script("document.documentElement.lang") == "en"
    assert script("window.broken") is None, "markup in the data was run"
    assert script("document.querySelectorAll('section').length") == 6
    unnamed = script("[...document.querySelectorAll('button, input, select')]"
                     ".filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.length))"
                     ".map(e => e.outerHTML)")
    assert unnamed == [], f"without an accessible name: {unnamed}"
    pictures = script("[...document.images].filter(i => !i.hasAttribute('alt')).length")
    assert pictures == 0, "pictures without a text in their place"
    if expected is not None:
        assert kept() == expected, f"{kept()} kept where {expected} were expected"
    assert "thresholds are those of the table" in find("#command").text


def naive():
    """Counts kept clips from the page's own data in another way: row by row, from base64 anew."""
    return script("""(() => {
      const data = JSON.parse(document.getElementById('data').textContent);
      const inputs = [...document.querySelectorAll('.slider')];
      const now = new Map(inputs.map(e => [e.querySelector('input[type=range]').ariaLabel,
                                           e.querySelector('input[type=number]').value]));
      const columns = data.scores.map(({values}) => {
        const bytes = Uint8Array.from(atob(values.data), c => c.charCodeAt(0)).buffer;
        return values.bits === 32 ? new Float32Array(bytes) : new Float64Array(bytes);
      });
      let kept = 0;
      for (let row = 0; row < data.count; row++) {
        if (data.rows.unjudged.includes(row)) continue;
        let fine = true;
        data.scores.forEach((score, index) => {
          for (const limit of score.limits) {
            const name = (limit.side === 'at_least' ? 'Minimum' : 'Maximum') + ' of ' + score.what;
            const text = now.has(name) ? now.get(name) : limit.value === null ? '' : String(limit.value);
            const value = columns[index][row];
            const missing = Number.isNaN(value) && !score.values.nan.includes(row);
            if (text === '' || missing) continue;
            if (!(limit.side === 'at_least' ? value >= Number(text) : value <= Number(text))) fine = false;
          }
        });
        if (fine) kept++;
      }
      return kept;
    })()""")


def check_slider():
    slider = find("#judged input[type=range]")
    label, before = slider.get_attribute("aria-label"), kept()
    assert naive() == before, f"the page says {before}, counting it says {naive()}"
    script("arguments[0].focus()", slider)
    for _ in range(25):
        press(*[Keys.ARROW_RIGHT] * 40)
        until(lambda: "--set " in find("#command").text, "a command")
        if kept() < before:
            break
    command = find("#command").text
    assert re.match(r"curate refilter \S.* --set \w+\.[\w.]+=[\d.]+$", command), command
    value = slider.get_attribute("aria-valuetext").split()[0]
    assert command.endswith(f"={value}"), (command, value)
    assert kept() < before, f"{label}: still {before} clips"
    assert naive() == kept(), f"the page says {kept()}, counting it says {naive()}"
    after = kept()
    press(*[Keys.ARROW_LEFT] * 3)
    until(lambda: find("#command").text != command, "another command")
    assert kept() >= after
    live = find("#live")
    until(lambda: live.get_attribute("textContent") == f"{find('#kept').text.replace(' kept', '')} clips kept",
          "words for screen readers")

    # To the end and off: `none` where the setting can be taken away.
    for none in browser.find_elements(By.CSS_SELECTOR, "#judged .slider button"):
        if none.text == "None" and none.is_enabled():
            script("arguments[0].focus()", none)
            press(Keys.ENTER)
            until(lambda: "=none" in find("#command").text, "a command with none")
            break
    assert naive() == kept()
    exact = find("#judged input[type=number]")
    script("(arguments[0].focus(), arguments[0].select())", exact)
    press("5.25", Keys.TAB)
    until(lambda: "=5.25" in find("#command").text, "the number that was typed")
    assert naive() == kept()
    for pixels in [390, 1280]:
        width(pixels)
        script("document.querySelector('#judged .slider.moved').scrollIntoView({block: 'center'})")
        time.sleep(0.6)
        check_width("with moved thresholds", pixels)
        browser.save_screenshot(str(folder / f"moved-{pixels}.png"))
    script("document.getElementById('reset').focus()")
    press(Keys.ENTER)
    until(lambda: kept() == before, "the count from the beginning")
    assert "thresholds are those of the table" in find("#command").text


def found():
    return number(find("#found").text)


def caption_words():
    """Two words of some caption, the longest ones."""
    data = script("JSON.parse(document.getElementById('data').textContent)")
    texts = [text for text in data["rows"]["caption"]["words"] if text]
    assert texts, "no caption to search for"
    return sorted(set(re.findall(r"[a-z]{4,}", texts[0].lower())), key=len)[-2:]


def check_list():
    everything = found()
    script("document.activeElement.blur()")
    press("/")
    assert script("document.activeElement.id") == "search", "/ does not lead to the search"
    words = caption_words()
    press(" ".join(words))
    until(lambda: found() < everything, "fewer clips")
    captions = [e.text.lower() for e in browser.find_elements(By.CSS_SELECTOR, ".list .caption")]
    assert captions and all(word in text for word in words for text in captions), (words, captions)
    press(Keys.ESCAPE)
    until(lambda: found() == everything, "all clips again")
    # From the search to the status by keyboard, and a status chosen by its first letters.
    press(Keys.TAB, "dropped")
    assert script("document.activeElement.id") == "f-status"
    until(lambda: found() < everything, "only dropped clips")
    dropped = found()
    words = {e.text.split("\n")[0] for e in browser.find_elements(By.CSS_SELECTOR, ".verdict")}
    assert all("dropped" in text for text in words), words
    press(Keys.TAB, Keys.ARROW_DOWN)
    assert script("document.activeElement.id") == "f-reason"
    until(lambda: found() < dropped, "only one reason")
    # Values of a clip, opened by keyboard.
    script("document.querySelector('.list summary').focus()")
    press(Keys.ENTER)
    until(lambda: browser.find_elements(By.CSS_SELECTOR, ".list .values td"), "values of a clip")
    browser.save_screenshot(str(folder / "list.png"))
    for name in ["f-status", "f-reason"]:
        script("(arguments[0].focus())", find(f"#{name}"))
        press(Keys.HOME)
    until(lambda: found() == everything, "all clips again")
    if find("#next").is_enabled():
        first = find(".list .source").text
        script("document.getElementById('next').focus()")
        press(Keys.ENTER)
        until(lambda: find(".list .source").text != first, "the next page")
    # The funnel leads to the list.
    reason = find(".funnel button.reason")
    wanted = number(reason.find_element(By.TAG_NAME, "b").text)
    script("arguments[0].focus()", reason)
    press(Keys.ENTER)
    until(lambda: found() == wanted, f"the {wanted} clips of a reason")
    for name in ["f-status", "f-reason"]:
        script("(arguments[0].focus())", find(f"#{name}"))
        press(Keys.HOME)


def check_focus():
    """Tab goes through the page in its order, and where it is can be seen."""
    script("(document.activeElement.blur(), scrollTo(0, 0))")
    seen = []
    for _ in range(12):
        press(Keys.TAB)
        seen.append(script("document.activeElement.textContent.trim().slice(0, 30)"))
        style = script("getComputedStyle(document.activeElement).outlineStyle")
        assert style != "none", f"no visible focus on {seen[-1]}"
    assert seen[0] == "Skip to the thresholds" and seen[1].startswith("Theme"), seen
    assert seen[2] == "Funnel", seen


def check_looks():
    script("document.getElementById('others').open = true")
    script("document.querySelectorAll('.list details').forEach(e => { e.open = true })")
    for scheme in ["light", "dark"]:
        media(scheme)
        for pixels in [1280, 390]:
            width(pixels)
            script("scrollTo(0, 0)")
            time.sleep(0.3)
            assert (brightness() > 128) == (scheme == "light"), f"{scheme}: {background()}"
            check_width(scheme, pixels)
            browser.save_screenshot(str(folder / f"{scheme}-{pixels}.png"))
            for section in ["thresholds", "others", "failures", "clips", "work", "lineage"]:
                script("document.documentElement.style.scrollBehavior = 'auto'")
                script(f"document.getElementById('{section}').scrollIntoView()")
                time.sleep(0.2)
                browser.save_screenshot(str(folder / f"{scheme}-{pixels}-{section}.png"))
    # The button wins over the system.
    media("light")
    theme = find("#theme")
    script("arguments[0].focus()", theme)
    for name, dark in [("light", False), ("dark", True), ("system", False)]:
        press(Keys.ENTER)
        assert theme.text == f"Theme: {name}"
        assert (brightness() < 128) == dark
    media("dark")
    assert brightness() < 128
    width(1280)


def check_quiet():
    messages = browser.get_log("browser")
    assert messages == [], f"on the console: {messages}"
    urls = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            urls.append(message["params"]["request"]["url"])
    outside = [url[:100] for url in urls if not url.startswith("data:") and url != report.as_uri()]
    assert outside == [], f"requests: {outside}"
    assert urls, "no request was recorded, so nothing was checked"


try:
    width(1280)
    media("light")
    begin = time.monotonic()
    browser.get(report.as_uri())
    print(f"opened in {time.monotonic() - begin:.1f} s, {report.stat().st_size} bytes")
    check_start()
    check_focus()
    # A table without clips or thresholds has nothing to move or to find.
    if found() > 0 and browser.find_elements(By.CSS_SELECTOR, "#judged input"):
        check_slider()
        check_list()
    check_looks()
    check_quiet()
    print("ok")
finally:
    browser.quit()
