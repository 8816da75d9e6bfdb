"""The command line: one file a command, and what they share. The main job is in `main.py`."""

VERSION = "1.1.0"
