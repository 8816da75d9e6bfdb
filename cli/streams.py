"""Standard output and standard error, which may be closed, full, or know few letters.

Work must not end because its progress cannot be shown. `steady` replaces both streams by ones that
never fail; whether results were lost is known at the end, and told by the exit code.
"""

import io
import os
import sys


class Steady(io.TextIOWrapper):
    """A stream of text that keeps to itself why it cannot write any more.

    Attributes:
        trouble: why, in words; "" where all was written.
    """

    trouble = ""

    def write(self, text: str) -> int:
        return self._tried(super().write, text) or len(text)

    def flush(self):
        self._tried(super().flush)

    def close(self):
        self._tried(super().close)

    def _tried(self, do, *arguments):
        if self.trouble:
            return None
        try:
            return do(*arguments)
        except (OSError, ValueError) as error:  # ValueError: it was closed
            self.trouble = getattr(error, "strerror", None) or str(error)
            return None


def steady():
    """Make both streams steady, for the rest of this process."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # or the next file to be opened would be taken for this stream
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        made = Steady(
            stream.detach() if stream else open(os.devnull, "wb"),  # noqa: SIM115
            encoding=stream.encoding if stream else "utf-8",
            errors="backslashreplace",  # letters that it has not
            line_buffering=not stream or stream.line_buffering,
        )
        made.trouble = "" if stream else "it is closed"
        setattr(sys, name, made)
        setattr(sys, f"__{name}__", made)


def leave(code: int):
    """End this process; exit code 1 where all went well, but results could not be written."""
    sys.stdout.flush()
    if sys.stdout.trouble and not code:
        print(f"Error: the results could not be shown: {sys.stdout.trouble}.", file=sys.stderr)
        code = 1
    sys.exit(code)
