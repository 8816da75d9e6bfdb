"""A browser for tests, where one is installed: scripts that use a page as its reader would.

Before a script runs, the page is watched for errors and for anything it loads. A script has what
`OPERATE` defines, and puts what it finds into `result`.
"""

import html
import json
import re
import shutil
import subprocess

import pytest

BROWSERS = "chromium", "chromium-browser", "google-chrome"
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
in_a_browser = pytest.mark.skipif(not BROWSER, reason=f"none of {', '.join(BROWSERS)} is here")

WATCH = """<script>
const failures = [];
addEventListener("error", (event) => failures.push(event.message));
addEventListener("unhandledrejection", (event) => failures.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => failures.push(event.blockedURI));
// Pictures come by the browser's virtual time, as timers do, and not by that of the screen.
window.requestAnimationFrame = (draw) => setTimeout(() => draw(performance.now()), 1000 / 60);
</script>"""

OPERATE = """<pre id="result"></pre><script>
const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
const button = document.getElementById("play");
const press = (id) => document.getElementById(id).click();
const text = (id) => document.getElementById(id).textContent;
const space = (element) => element.dispatchEvent(
  new KeyboardEvent("keydown", { key: " ", bubbles: true, cancelable: true }));
async function slide(id, value) {
  const slider = document.getElementById(id);
  slider.value = value;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  await wait(0.1);
}
const picture = () => document.getElementById("flat").toDataURL();
/** The middle of what is coloured, in pixels, and how many pixels are: greys are not colours. */
function coloured() {
  const { width, height } = document.getElementById("flat");
  const pixels = document.getElementById("flat").getContext("2d")
    .getImageData(0, 0, width, height).data;
  let [count, x, y] = [0, 0, 0];
  for (let i = 0; i < pixels.length; i += 4) {
    const [red, green, blue, alpha] = pixels.subarray(i, i + 4);
    if (alpha === 0 || Math.max(red, green, blue) - Math.min(red, green, blue) < 40) continue;
    count += 1;
    x += (i / 4) % width;
    y += Math.floor(i / 4 / width);
  }
  return { count, x: x / count, y: y / count };
}
(async () => {
  const result = {};
  try {
    await wait(0.1);
    SCRIPT
  } catch (error) {
    failures.push(String(error));
  }
  if (lab.state().playing) button.click();  // nothing is left to be waited for
  result.failures = failures;
  result.requests = performance.getEntriesByType("resource").map((entry) => entry.name);
  document.getElementById("result").textContent = JSON.stringify(result);
})();
</script></body>"""


def operate(page, script, *flags) -> dict:
    """Run a script in a copy of the page; what it puts into `result`, if nothing failed."""
    copy = page.with_suffix(".operated.html")
    text = page.read_text("utf-8").replace("<head>", "<head>" + WATCH)
    copy.write_text(text.replace("</body>", OPERATE.replace("SCRIPT", script)), "utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", *flags]
    command += ["--virtual-time-budget=10000", f"--user-data-dir={page.parent / 'browser'}"]
    done = subprocess.run([*command, copy.as_uri()], capture_output=True, timeout=100, text=True)
    found = re.search(r'<pre id="result">(.+?)</pre>', done.stdout, re.S)
    assert found, done.stderr
    result = json.loads(html.unescape(found[1]))
    assert result.pop("failures") == []
    assert result.pop("requests") == []
    return result
