"""Experiments: what a run is, where it is kept, how good it is, how runs compare.

values.py      the kinds of values that an option can have
config.py      everything that describes a run, as one record of options
sides.py       the source and the target that options name
methods.py     the method that they name, and what it asks of both
demands.py     what some options demand of the others
run.py         what such a record stands for: a method, a source, a target
settling.py    from options to a run: looked up, filled in, held against one another
store.py       runs learned, kept in the folder runs/, and found there again
classes.py     which class each point is of, and what carries it there
densities.py   how likely a run's flow makes points
following.py   how points follow it
evaluation.py  how good it is, in numbers
by_class.py    how good each class is
reflow.py      flows that are straightened
comparison.py  methods against solvers
budget.py      quality against evaluations
tables.py      what comparisons and budgets are written as
checks.py      whether the numbers of this machine are right
"""

import machine  # noqa: F401  before MLX, which it makes fast
