"""The command line: one file a command, and what they share. The main job is in `main.py`."""

import os

os.environ["MPLBACKEND"] = "agg"  # no window is opened, whatever backend a user has chosen for them
VERSION = "1.4.2"
