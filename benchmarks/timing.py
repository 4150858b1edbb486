"""Timing of pieces of work against each other: in turn, in one process, so that what slows one slows all."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch

Work = Callable[[], object]


def seconds(work: Work, times: int, device: str) -> float:
    """Seconds one call takes: process time on the CPU, time until the device has finished on an accelerator."""
    clock = time.process_time if device == "cpu" else _finished
    start = clock()
    for _ in range(times):
        work()
    return (clock() - start) / times


def _finished() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def race(works: Mapping[str, Work], *, rounds: int, sample: float = 0.3, device: str = "cpu") -> dict[str, list[float]]:
    """Seconds per call of each piece of work, a list of `rounds` samples of about `sample` seconds each.

    In every other round they run in reverse order, so that a drift of the machine favours none.
    """
    warm = {name: min(seconds(work, 2, device) for _ in range(2)) for name, work in works.items()}
    times = {name: max(1, round(sample / warm[name])) for name in works}
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        for name in list(works) if number % 2 == 0 else reversed(works):
            taken[name].append(seconds(works[name], times[name], device))
    return taken


def turns(works: Mapping[str, Work], *, rounds: int, device: str = "cpu") -> dict[str, list[float]]:
    """Seconds of one call of each per round, for long work: in turn, the order reversed every other round.

    A first round is not counted.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(-1, rounds):
        for name in list(works) if number % 2 == 0 else reversed(works):
            took = seconds(works[name], 1, device)
            taken[name] += [took] if number >= 0 else []
    return taken


def ratio(taken: Mapping[str, list[float]], of: str, to: str) -> dict[str, float]:
    """Median of the rounds' ratios `of` / `to`, with its quartiles."""
    ratios = [a / b for a, b in zip(taken[of], taken[to], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {"median": round(middle, 4), "q25": round(low, 4), "q75": round(high, 4)}


def milliseconds(taken: Mapping[str, list[float]]) -> dict[str, float]:
    """Each one's median, in milliseconds."""
    return {name: round(statistics.median(each) * 1e3, 4) for name, each in taken.items()}
