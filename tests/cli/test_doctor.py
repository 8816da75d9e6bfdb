"""The self-check: right here, and wrong where something is."""

import math
from dataclasses import replace

import mlx.core as mx

import cfm
from lab.checks import CHECKS


def test_all_is_right_here(program):
    result = program("doctor")
    assert result.exit_code == 0, result.output
    lines = dict(line.split(maxsplit=1) for line in result.output.splitlines())
    assert lines["all"] == f"right, in {len(CHECKS)} checks"
    assert f"mlx {mx.__version__}" in lines["packages"]
    assert "steps/s" in lines["training"] and " s for " in lines["sampling"]


def test_a_velocity_that_is_not_that_of_its_path_is_found(program, monkeypatch):
    right = cfm.Method.sample

    def wrong(self, *arguments):
        xt, ut = right(self, *arguments)
        return xt, ut * (1.01 if self.name == "vp" else 1)

    monkeypatch.setattr(cfm.Method, "sample", wrong)
    result = program("doctor")
    assert result.exit_code == 1
    assert [line for line in result.output.splitlines() if "WRONG" in line] == [
        line for line in result.output.splitlines() if line.startswith("path of vp")
    ]
    assert f"Error: 1 of {len(CHECKS)} checks failed." in result.output


def test_rounded_products_are_found(monkeypatch):
    """TensorFloat32 keeps 11 bits of every factor."""
    right, exactly = mx.array.__matmul__, CHECKS["products"]
    assert exactly.measure() < exactly.allowed / 5

    def rounded(a, b):
        return right(*((x.astype(mx.float16)).astype(mx.float32) for x in (a, b)))

    monkeypatch.setattr(mx.array, "__matmul__", rounded)
    assert exactly.measure() > 5 * exactly.allowed


def test_what_is_not_a_number_is_wrong(program, monkeypatch):
    monkeypatch.setitem(CHECKS, "draws", replace(CHECKS["draws"], measure=lambda: math.nan))
    result = program("doctor")
    assert result.exit_code == 1 and CHECKS["draws"].advice in result.output
