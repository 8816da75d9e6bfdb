"""What several tests of the program say alike."""

import json
from pathlib import Path

import mlx.core as mx

QUICK = ["--steps", "30", "--batch-size", "32", "--samples", "64", "--width", "8", "--depth", "1"]


def newest() -> Path:
    """The file in runs/ that was written last."""
    return max(Path("runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)


def the_error(result) -> str:
    """The one sentence of a usage error."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    (sentence,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    return sentence


def options_of(checkpoint) -> dict:
    """What a checkpoint says of its run."""
    metadata = mx.load(str(checkpoint), return_metadata=True)[1]
    return json.loads(metadata["config"])
