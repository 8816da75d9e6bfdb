"""The commands that need no run: datasets, page."""

import json
import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from shared import the_error

from cfm import METHODS
from datasets import DATASETS


def test_the_gallery(program):
    result = program("datasets")
    assert result.exit_code == 0, result.output
    for name, data in DATASETS.items():
        assert f"{name} " in result.output
        assert data.description in result.output
    assert matplotlib.image.imread("media/datasets.png").std() > 0.05


@pytest.mark.parametrize("name", METHODS)
def test_a_page_of_every_method_that_it_offers(program, name):
    """Those with independent pairs are offered, and none of them is refused afterwards."""
    result = program("page", "--method", name, "--points", "5", "--out", "page.html")
    if METHODS[name]().coupling.match is None:
        assert result.exit_code == 0, result.output
    else:
        assert "--method" in the_error(result)


def test_a_page_has_its_older_name(program):
    assert program("exact", "--points", "5").exit_code == 0
    assert "\n  exact " not in program("--help").output


def test_a_page_of_a_file(program):
    """Its points are in standard deviations of each column, and its words are words."""
    nasty = "</script><img src=x onerror=alert(1)>"
    rows = [f"{x},{10 * x * x},7" for x in range(1, 21)]
    Path("mine.csv").write_text("\n".join([f"height,{nasty},last", *rows]), "utf-8")
    options = ("--target", "mine.csv", "--columns", "1,2", "--points", "30", "--out", "page.html")
    result = program("page", *options)
    assert result.exit_code == 0, result.output
    text = Path("page.html").read_text("utf-8")
    assert nasty not in text and text.count("<img") == 0
    data = json.loads(re.search(r'<script id="data" [^>]*>(.*?)</script>', text, re.S)[1])
    (mine,) = (target for target in data["targets"] if target["name"] == "mine.csv")
    assert mine["labels"] == ["height, standardised", f"{nasty}, standardised"]
    columns = np.array([[x, 10 * x * x] for x in range(1, 21)])
    expected = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    assert sorted(mine["points"]) == sorted(np.round(expected, 3).tolist())
    assert (data["start"]["target"], data["start"]["n"]) == ("mine.csv", 20)


def test_what_a_page_cannot_have(program):
    Path("mine.csv").write_text("a,b,c\n1,2,3\n4,5,7\n", "utf-8")
    assert "has 3 columns" in the_error(program("page", "--target", "mine.csv"))
    assert "--columns" in the_error(program("page", "--target", "mine.csv", "--columns", "a,d"))
    assert "--columns" in the_error(program("page", "--columns", "a,b"))
    assert "--points" in the_error(program("page", "--points", "1025"))
    assert "--source" in the_error(program("page", "--method", "fm", "--source", "8gaussians"))
    assert "--target" in the_error(program("page", "--target", "gaussian4d"))
    assert "--out" in the_error(program("page", "--out", "page.png"))
