"""How many of the answered problems `discover` may watch, so that some are left on which labels can be tested."""

from pathlib import Path

from cot_neurons.profiles import PROFILES

from reasonscope.steps import found

_LEAST = 20  # problems held out where there are few; of fewer than twice as many, half


def watched(items: Path) -> int | None:
    """`DiscoverOptions.limit` for a run of infer: None, which is its default, wherever that holds out enough."""
    answered = int(found(items, "items")["items"])
    most = max(1, answered // 2, answered - _LEAST)
    return most if most < PROFILES["default"].items else None
