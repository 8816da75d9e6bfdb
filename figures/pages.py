"""Pages to show and to play with: one HTML file each, that needs nothing else, not even a network.

A page is written by a function of arrays, or of methods and their data: `flow_page.py` and
`exact_page.py`. It puts its numbers, as one JSON object, into the frame `web/page.html`, beside the
words, the style and the JavaScript of the folder `web/`. Scripts share one scope, and each says at
its top what it is for; those that all pages share come first.
"""

import html
import json
import re
from pathlib import Path

from files.whole import whole

WEB = Path(__file__).parent / "web"
SHARED = ["page.js", "picture.js", "clock.js"]


def write_page(out, title: str, data: dict, aside: str, scripts: list[str], tools: str = ""):
    """Write the page that has this title, these data, and these files of the folder `web/`.

    Args:
        out: file to write.
        title: of the page.
        data: what its scripts find as `data`; whatever JSON can hold.
        aside: file of the words and controls beside the picture.
        scripts: files that come after the `SHARED` ones.
        tools: file of what stands above the picture, or "" for nothing.
    """
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}  # lest the JSON end its script
    blob = json.dumps(data, allow_nan=False, separators=(",", ":"))
    parts = {
        "title": html.escape(title),
        "style": _text("page.css"),
        "tools": _text(tools) if tools else "",
        "aside": _text(aside),
        "script": "\n".join(map(_text, [*SHARED, *scripts])),
        "data": re.sub("[<>&]", lambda found: escapes[found[0]], blob),
    }
    # In one pass, so that no title and no name can ask for another part.
    page = re.sub(r"{{(\w+)}}", lambda found: parts[found[1]], _text("page.html"))
    with whole(out) as temporary:
        temporary.write_text(page, "utf-8")


def _text(name: str) -> str:
    return (WEB / name).read_text("utf-8")
