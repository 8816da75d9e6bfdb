"""How random numbers are drawn: from explicit keys, one per training step, evenly spread.

Every sampler of this program takes a `key`; with none it takes a fresh one from MLX's global
generator (`mx.random.seed`). The draws of training step n depend on the seed and n alone.
"""

import mlx.core as mx

# Step numbers that no training reaches, for what is drawn after it.
EVALUATION, PATH_SHAPE, LAW_OF_TRAINING, SAMPLES, PROBES, PAIRS_OF_A_FLOW, NOISE, CLASSES = (
    2**32 - k for k in range(1, 9)
)


def step_key(seed: int, step: int):
    """The key of one training step; no two pairs (seed, step) below 2³² share one."""
    return mx.random.key((seed << 32) | step)


def as_key(key=None):
    """The key itself, or a fresh one from MLX's global generator."""
    if key is not None:
        return key
    return mx.random.randint(0, 2**31 - 1, (2,)).astype(mx.uint32)


def stratified(n: int, key):
    """(n,) numbers uniform on [0, 1), one in each of n equal parts, in random order.

    Each by itself is uniform; together they cover [0, 1) more evenly than independent draws
    would, so that averages over them vary less.
    """
    order_key, place_key = mx.random.split(key)
    parts = mx.random.permutation(n, key=order_key)
    return (parts + mx.random.uniform(shape=(n,), key=place_key)) / n


def evaluation_keys(seed: int):
    """Four keys for what is drawn after training: paths, distances, pairs, a few points."""
    return mx.random.split(step_key(seed, EVALUATION), 4)
