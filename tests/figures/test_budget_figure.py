"""Curves of quality are drawn where the numbers are, and methods are told apart by colour."""

import numpy as np

from figures.budget import plot_budget

ROWS = np.array([[1, 4.0, 3.0, 5.0], [2, 2.0, 2.0, 2.0], [4, 1.0, 0.5, 1.5]])
CURVES = {("cfm", "euler"): ROWS, ("cfm", "rk4"): ROWS[2:], ("meanflow", "map"): ROWS / 2}


def test_each_curve_is_drawn(drawn):
    figure = drawn(plot_budget, [("W", 0.25, CURVES), ("D", 0.1, CURVES)], "a to b")
    first, second = figure.axes
    *lines, floor = first.get_lines()
    for line, rows in zip(lines, CURVES.values(), strict=True):
        np.testing.assert_allclose(line.get_xydata(), rows[:, :2])
    assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color()
    assert lines[0].get_marker() != lines[1].get_marker()
    assert set(floor.get_ydata()) == {0.25} and set(second.get_lines()[-1].get_ydata()) == {0.1}
    band = first.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 0.5 and band[:, 1].max() == 5
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["cfm, euler", "cfm, rk4", "meanflow, map", "two true samples"]
    assert (first.get_xscale(), first.get_ylabel(), second.get_ylabel()) == ("log", "W", "D")
