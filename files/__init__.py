"""What is read from disk and kept on it: a user's tables of numbers, and checkpoints."""

import machine  # noqa: F401  before MLX, which it makes fast
