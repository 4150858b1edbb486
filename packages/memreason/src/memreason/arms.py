"""The arms of the experiment: the same data, seeds and budget, and other things written before the steps."""

import hashlib
from random import Random

from memreason.scheme import Arm, Init, TokenScheme
from memreason.trace import KINDS, Trace

STEP = "step"
"""The one kind of arm `uniform`."""


def scheme(
    arm: Arm, *, general: int, special: int, init: Init = "word", chat: bool = False, plans: int = 0
) -> TokenScheme:
    """The tokens of an arm. `plans`: kinds of arm `planned` (clusters of steps; Wang et al. 2023)."""
    counts = {"none": (0, 0), "hard": (0, 0), "general": (general, 0)}.get(arm, (general, special))
    kinds = {"uniform": (STEP,), "planned": tuple(f"plan{i}" for i in range(plans))}.get(arm, KINDS)
    return TokenScheme(
        arm=arm, kinds=kinds, general=counts[0], special=counts[1], tags=arm == "hard", init=init, chat=chat
    )


def dressed(trace: Trace, arm: Arm, key: str, seed: int) -> Trace:
    """The trace with the kinds that this arm tells of its steps.

    `random`: each drawn by a coin; `shuffled`: those of the trace, in another order (the ablation of Jin et al. 2025,
    section 5.1); both are functions of seed and `key`. `planned` has its kinds from clusters, not from here.
    """
    kinds = trace.kinds()
    draws = Random(hashlib.sha256(f"{seed}/{arm}/{key}".encode()).digest())
    if arm in ("none", "general"):
        return trace.relabelled(("",) * len(kinds))
    if arm == "uniform":
        return trace.relabelled((STEP,) * len(kinds))
    if arm == "random":
        return trace.relabelled(tuple(draws.choice(KINDS) for _ in kinds))
    if arm == "shuffled":
        return trace.relabelled(tuple(draws.sample(kinds, len(kinds))))
    return trace
