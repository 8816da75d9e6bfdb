"""What several tests of the program say alike."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_unflatten

from files.checkpoints import write_checkpoint

PROGRAM = Path(__file__).parents[1] / "main.py"
QUICK = ["--steps", "30", "--batch-size", "32", "--samples", "64", "--width", "8", "--depth", "1"]


def newest() -> Path:
    """The file in runs/ that was written last."""
    return max(Path("runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)


def after_ctrl_c(folder: Path, *arguments: str, shown: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a real program in a folder, which gets Ctrl-C as soon as it
    has shown progress, a line that begins with `shown`."""
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr.readline().startswith(shown)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def the_error(result) -> str:
    """The one sentence of a usage error."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    (sentence,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    return sentence


def spoiled(path, spoil):
    """Change the arrays and the words of a checkpoint, and make its checksum right again."""
    arrays, words = mx.load(str(path), return_metadata=True)
    spoil(arrays, words)
    write_checkpoint(path, tree_unflatten(list(arrays.items())), words)


def options_of(checkpoint) -> dict:
    """What a checkpoint says of its run."""
    metadata = mx.load(str(checkpoint), return_metadata=True)[1]
    return json.loads(metadata["config"])


def arrays_of(content: bytes) -> dict[str, bytes]:
    """Name → bytes of all arrays of a safetensors file, but the history's."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    return {
        name: content[8 + size + about["data_offsets"][0] : 8 + size + about["data_offsets"][1]]
        for name, about in header.items()
        if name != "__metadata__" and not name.startswith("losses")
    }
