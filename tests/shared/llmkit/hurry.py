"""Waits between a request that failed and the next attempt, made short: few tests are about them."""

from llmkit import retry, wire

_AS_FAST = 50


def hurried(name: str, repetition: int, base: float, wanted: float | None) -> float:
    """Instead of `llmkit.retry.pause`: what a server asks for is still waited."""
    return retry.pause(name, repetition, base / _AS_FAST, wanted)


def hurry() -> None:
    """From now on, in this process."""
    wire.pause = hurried
