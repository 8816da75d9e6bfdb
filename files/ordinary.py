"""Whether a path leads to a file that can be read to its end."""

import os
import stat


def why_not(path) -> str:
    """Why no file can be read there, in words that follow a colon; nothing where one can.

    To be asked before it is opened: a pipe waits for someone to write into it, and a device may
    never come to an end.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "it does not exist"
    except (OSError, ValueError) as error:  # of a ValueError, a null character in the name
        return getattr(error, "strerror", None) or str(error)
    if stat.S_ISDIR(mode):
        return "it is a folder"
    return "" if stat.S_ISREG(mode) else "it is no ordinary file, but a device or a pipe"
