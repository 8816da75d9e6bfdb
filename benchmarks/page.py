"""A picture of the page that one can touch, as a browser shows it: media/page.png.

    python benchmarks/page.py

Left: one of five points is chosen, and the others are mixed in. Right: the density of 1 024 points
of the annulus, on their way, on a dark page. It needs Chromium and `pip install playwright`.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
CHOSEN = "n=5&chosen=2&others=1&t=0.4&shows=density_arrows_shares_fine"
SURFACE = "n=1024&t=0.8&view=surface"
SIZE = {"width": 1180, "height": 880}
SOFTWARE_GRAPHICS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def screenshots(page: Path):
    """Both, as images."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", *SOFTWARE_GRAPHICS]
        )
        for fragment, scheme in ((CHOSEN, "light"), (SURFACE, "dark")):
            window = browser.new_page(viewport=SIZE, color_scheme=scheme)
            window.goto(f"{page.as_uri()}#{fragment}")
            window.wait_for_function("() => lab.settled()", timeout=120_000)
            window.wait_for_timeout(1000)
            yield Image.open(io.BytesIO(window.screenshot()))
        browser.close()


def main():
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        write = [sys.executable, "main.py", "page", "--out", str(page)]
        subprocess.run(write, cwd=ROOT, check=True)
        left, right = screenshots(page)
    both = Image.new("RGB", (left.width + right.width, left.height))
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    small = both.resize((1700, round(1700 * both.height / both.width)), Image.Resampling.LANCZOS)
    out = ROOT / "media" / "page.png"
    small.quantize(256, kmeans=3).save(out, optimize=True)
    print(f"{out}: {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
