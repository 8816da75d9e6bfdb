"""Flows that are straightened: a network learns the pairs that another flow makes.

A flow carries x0 to φ(x0). Where a network learns straight paths between these two, its own flow
ends at the same distribution, and is straighter (Liu et al. 2023). The pairs are a coupling like
any other; only the flow that makes them must be there while the network is trained.
"""

import hashlib
from dataclasses import replace

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from cfm import REFLOW, Method
from couplings import of_a_flow
from files.checkpoints import CheckpointError
from lab.config import Ancestor, Config
from lab.run import Run
from lab.settling import settle
from machine import ranks
from machine.keys import PAIRS_OF_A_FLOW, step_key
from models import TRAINABLE
from odeint import odeint

PAIRS, PARTS = 2**16, 8  # of a flow, and the parts in which they are solved
TEACHER = "cfm"  # unless a checkpoint is named
KEPT = (
    *("source", "target", "columns", "label", "units", "source_units", "target_units"),
    *("network", "width", "depth", "activation", "seed"),
)


def reflowed(run: Run, field, path, **options) -> Run:
    """The run that straightens the flow of another, whose field is kept in a file.

    Source, target, the kind of network and the seed are those of that run; all else is as in any
    new training.

    Args:
        options: of the training, where they are to be others; None for none.

    Raises:
        CheckpointError: for what is no flow, or has a learned source.
    """
    before = run.config
    if run.is_map:
        raise CheckpointError(
            f"'{path}' holds '{before.method}', a map and no flow: there is nothing to straighten "
            "in its steps"
        )
    if run.classes:
        raise CheckpointError(
            f"'{path}' holds a conditional flow, a flow for every class, and a rectified one is "
            "told no classes"
        )
    if before.source == TRAINABLE:
        raise CheckpointError(
            f"'{path}' holds a flow with a source of its own, '{TRAINABLE}', from which no other "
            "flow can start"
        )
    kept = {name: getattr(before, name) for name in KEPT}
    chosen = {name: value for name, value in options.items() if value is not None}
    config = Config(**{"method": REFLOW, "ancestors": before.ancestors} | kept | chosen)
    return descended(settle(config), field, path)


def teacher_of(run: Run) -> Run:
    """The run that comes before a straightened one which has no ancestor yet."""
    return settle(replace(run.config, method=TEACHER, sigma=None))


def descended(run: Run, field, path) -> Run:
    """A straightened run, with the field that is kept in a file for its last ancestor."""
    ancestors = (*run.config.ancestors, Ancestor(str(path), digest_of(field)))
    return settle(replace(run.config, ancestors=ancestors))


def taught_by(teacher, run: Run) -> Method:
    """The run's method, with `PAIRS` pairs that the teacher's flow makes.

    They depend on that flow and the seed alone, so that training can stop and go on. Of several
    processes, only the first needs the teacher.

    Raises:
        CheckpointError: where the teacher is not the flow that this run began with.
    """
    ancestor = run.config.ancestors[-1]
    if teacher is not None and digest_of(teacher) != ancestor.weights:
        raise CheckpointError(
            f"'{ancestor.checkpoint}' is not the flow that this one learns from: its weights are "
            "others"
        )
    x0 = run.source.sample(PAIRS, step_key(run.config.seed, PAIRS_OF_A_FLOW))
    x1 = mx.zeros_like(x0) if teacher is None else _ends(teacher, x0)
    x1 = ranks.from_first(x1)
    mx.eval(x0, x1)
    return replace(run.method, coupling=of_a_flow(x0, x1))


def _ends(field, x0):
    """Where a flow carries x0."""
    parts = mx.split(x0, PARTS)
    return mx.concatenate([odeint(field, part, [0.0, 1.0], dense=False).x[-1] for part in parts])


def digest_of(network) -> str:
    """A digest of a network's weights."""
    digest = hashlib.sha256()
    for name, leaf in sorted(tree_flatten(network.parameters())):
        digest.update(name.encode() + np.array(leaf).tobytes())
    return digest.hexdigest()[:12]
