"""The commands that need no run: datasets, page."""

import matplotlib.image
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


def test_what_a_page_cannot_have(program):
    assert "--source" in the_error(program("page", "--method", "fm", "--source", "8gaussians"))
    assert "--target" in the_error(program("page", "--target", "gaussian4d"))
    assert "--out" in the_error(program("page", "--out", "page.png"))
