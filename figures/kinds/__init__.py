"""The figures of a run, one a file: adding a file adds a figure, see `figures/registry.py`."""
