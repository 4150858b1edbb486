"""Causal tracing and attribution patching."""

from actkit.tracing.causal import attribution_patch, trace
from actkit.tracing.grid import Grid
from actkit.tracing.inputs import Noised

__all__ = ["Grid", "Noised", "attribution_patch", "trace"]
