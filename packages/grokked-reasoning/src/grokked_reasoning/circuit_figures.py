"""What `evaluate` and `trace` draw: accuracy of checkpoints, the circuit, and how it forms."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from grokked_reasoning.figures import color, log_steps, mark_events

_CHANGE = LinearSegmentedColormap.from_list("orange-white-green", ["#e6550d", "#ffffff", "#1b7837"])
_LINES = ("#4c78a8", "#e45756", "#54a24b", "#f2a33a", "#b279a2", "#72b7b2", "#9d755d", "#ff9da6")


@dataclass(frozen=True)
class Course:
    """A training run's course: events and their steps; home: the position of each target; tokens: their names."""

    events: Mapping[str, int]
    home: Mapping[str, int]
    tokens: tuple[str, ...]

    def start(self, effects: pl.DataFrame) -> int:
        """The checkpoint next to the step at which training facts were fitted; without it, the first."""
        steps = effects["step"].unique().sort().to_list()
        fitted = self.events.get("fitted", steps[0])
        return min(steps, key=lambda step: abs(step - fitted))

    def end(self, effects: pl.DataFrame) -> int:
        """The last checkpoint."""
        return int(effects["step"].to_numpy().max())


def accuracy(frame: pl.DataFrame) -> Figure:
    """Accuracy of every type over the checkpoints' steps (tables.Accuracy)."""
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    for number, kind in enumerate(frame["type"].unique(maintain_order=True)):
        rows = frame.filter(type=kind).sort("step")
        label = f"{kind} (n={rows['n'][0]:,})"
        axes.plot(rows["step"], rows["accuracy"], "o-", ms=3, lw=1.8, label=label, color=color(kind, number))
    axes.set(xlabel="step", ylabel="accuracy of the answer", ylim=(-0.02, 1.02))
    _log(axes, frame)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def peaks(seen: pl.DataFrame, effects: pl.DataFrame, home: Mapping[str, int]) -> dict[str, float]:
    """Of one checkpoint: each target's best MRR over layers at its own position, each site's greatest strength.

    Embeddings do not count, nor do patches after the last layer, where nothing but the head is left, nor what is read
    there besides the answer: no other token looks at it any more. strength_right is of facts that were answered right
    before, absent where there is none.
    """
    inside = used(seen)
    best = {
        f"mrr/{target}": inside.filter(target=target, position=place)["mrr"].to_numpy().max()
        for target, place in home.items()
    }
    told = _answers(effects).group_by("site", maintain_order=True).agg(pl.col("strength", "strength_right").max())
    for site, strength, right in told.iter_rows():
        best[f"strength/{site}"] = strength
        if right is not None:
            best[f"strength_right/{site}"] = right
    return {name: float(value) for name, value in best.items()}


def used(seen: pl.DataFrame) -> pl.DataFrame:
    """Readings after embeddings and, but for the answer, below the last layer where there are such layers."""
    inside = pl.col("layer") < max(2, seen["layer"].to_numpy().max())
    return seen.filter((pl.col("layer") > 0) & (inside | (pl.col("target") == "answer")))


def _answers(effects: pl.DataFrame) -> pl.DataFrame:
    """Effects on the answer, of patches below the last layer where there are such: above them is the head alone."""
    answer = effects.filter(target="answer")
    below = answer.filter(pl.col("layer") < pl.col("target_layer"))
    return answer if below.is_empty() else below


def circuit(effects: pl.DataFrame, course: Course) -> Figure:
    """Causal strength of every layer and site when grokking starts, at the end, and what changed between (figure 4).

    Of facts that were answered right before the patch: else a model that knows nothing would seem all circuit.
    """
    start, end = course.start(effects), course.end(effects)
    answer = _answers(effects)
    sites = answer["site"].unique(maintain_order=True).to_list()
    before, after = (grid(answer.filter(step=step), sites, "strength_right") for step in (start, end))
    figure = Figure(figsize=(3.2 + 1.9 * len(sites), 1.6 + 0.42 * len(before)), layout="constrained")
    panels = figure.subplots(1, 3)
    why = "training facts fitted" if "fitted" in course.events else "first checkpoint"
    for axes, values, title in zip(
        panels,
        (before, after, after - before),
        (f"step {start:,}\n({why})", f"step {end:,}\n(last checkpoint)", "change\n"),
        strict=True,
    ):
        changed = title.startswith("change")
        limits = (-1, 1) if changed else (0, 1)
        image = axes.imshow(values, aspect="auto", origin="lower", cmap=_CHANGE if changed else "Greens", clim=limits)
        _numbers(axes, values, dark=0.6)
        axes.set_xticks(range(len(sites)), sites)
        axes.set_yticks(range(len(values)), [str(layer + 1) for layer in range(len(values))])
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("patched token")
        axes.tick_params(length=0)
        figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02)
    panels[0].set_ylabel("state after layer")
    figure.suptitle("Causal strength: share of right answers that patching the state makes wrong", fontsize=10)
    return figure


def grid(effects: pl.DataFrame, sites: list[str], column: str) -> Float[np.ndarray, "L S"]:
    """Strengths of one checkpoint and target by layer and site; NaN where a site was not traced."""
    values = np.full((effects["layer"].to_numpy().max(), len(sites)), np.nan)
    for site, layer, strength in effects.select("site", "layer", column).iter_rows():
        values[layer - 1, sites.index(site)] = np.nan if strength is None else strength
    return values


def lens(seen: pl.DataFrame, effects: pl.DataFrame, course: Course) -> Figure:
    """Over training: each target's MRR at its own token and its telling layer; each site's strength where it grows."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    told = {target: place for target, place in course.home.items() if not target.startswith("label_")}
    for number, (target, place) in enumerate(told.items()):
        own = used(seen).filter(target=target, position=place).sort("step", "layer")
        layer = _telling(own, course.start(effects), course.end(effects))
        rows = own.filter(layer=layer)
        label = f"{target.replace('_', ' ')} at S[{layer}, {course.tokens[place]}]"
        top.plot(rows["step"], rows["mrr"], "o-", ms=3, label=label, color=_LINES[number % len(_LINES)])
    answer = _answers(effects)
    for number, site in enumerate(answer["site"].unique(maintain_order=True)):
        found = answer.filter(site=site)
        layer = _moving(found, course)
        rows = found.filter(layer=layer).sort("step")
        paint = _LINES[number % len(_LINES)]
        bottom.plot(rows["step"], rows["strength"], "o-", ms=3, label=f"S[{layer}, {site}]", color=paint)
        bottom.plot(rows["step"], rows["strength_right"], "--", lw=1, color=paint)
    for axes, label in ((top, "MRR of the target"), (bottom, "causal strength")):
        axes.set(ylabel=label, ylim=(-0.02, 1.02))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
        mark_events(axes, pl.DataFrame({"event": list(course.events), "step": list(course.events.values())}))
    bottom.set_xlabel("step   (dashed: of facts that were answered right)")
    _log(bottom, seen)
    return figure


def _telling(own: pl.DataFrame, start: int, end: int) -> int:
    """The layer that reads the answer best in the end; of other targets, the one at which the reading grows most."""
    before, after = (own.filter(step=step).sort("layer")["mrr"].to_numpy() for step in (start, end))
    return 1 + int((after if own["target"][0] == "answer" else after - before).argmax())


def _moving(effects: pl.DataFrame, course: Course) -> int:
    """The layer at which a site's strength grows most from the start of grokking to the end."""
    start, end = course.start(effects), course.end(effects)
    sites = effects["site"].unique().to_list()
    before, after = (grid(effects.filter(step=step), sites, "strength")[:, 0] for step in (start, end))
    return int((after - before).argmax()) + 1


def _numbers(axes: Axes, values: Float[np.ndarray, "L S"], dark: float) -> None:
    for (layer, site), value in np.ndenumerate(values):
        if not np.isnan(value):
            paint = "white" if abs(value) > dark else "#333333"
            axes.text(site, layer, f"{value:.2f}", ha="center", va="center", fontsize=7, color=paint)


def _log(axes: Axes, frame: pl.DataFrame) -> None:
    """A logarithmic axis of steps, where there are several and none is 0."""
    steps = frame["step"].to_numpy()
    if 0 < steps.min() < steps.max():
        log_steps(axes)
