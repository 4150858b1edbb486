"""The sections on what was found: neurons, their labels, and how far the labels hold."""

from collections.abc import Iterator, Sequence

import polars as pl
from runkit.page.frames import median
from runkit.page.markup import Child, Markup, cell, element, note, prose, table
from runkit.page.numbers import NONE, count, real, share
from runkit.tables import NEURON_KEY

from cot_neurons.pages.evidence import Evidence, Labelling
from cot_neurons.portraits import name, readable
from cot_neurons.tags import KINDS

_EACH = 3
_TOKENS = 6


def neurons(evidence: Evidence) -> list[Markup]:
    """How many neurons were kept, and the most telling for each kind of token."""
    found, steps = evidence.neurons, evidence.steps
    items = count(steps["row"].n_unique(), "chain")
    lead = (
        f"While {evidence.model} wrote {items} ({count(len(steps), 'token')}), {count(len(found), 'neuron')} (a neuron "
        "and the sign it fires with) were at some token among the strongest of their layer, by m·‖v‖. For each kind of "
        "token, those whose mean strength there exceeds that at other tokens most:"
    )
    rows = [row for kind in KINDS for row in _telling(found.filter(focus=kind).head(_EACH))]
    head = ["writing", "neuron", "contrast", "share of tokens", "promotes", "suppresses"]
    note = (
        "L3N17−: layer 3, neuron 17, firing negative. Contrast: mean |m|·‖v‖ at tokens of the kind less that at others."
    )
    return [element("p", lead), table(head, rows, id="strongest"), element("p", note, class_="note")]


def labels(labelling: Labelling) -> list[Markup]:
    """Labels per concept, what they are worth on held-out chains, and how often a label is given without reason."""
    given = labelling.labels
    status = labelling.verdicts.group_by("judge", "status", maintain_order=True).len()
    told = [f"{judge}: {count(n, 'neuron')} {word}" for judge, word, n in status.iter_rows()]
    head = ["judge", "concept", "neurons", "score, median", "AUROC, median", "specific, median", "validated"]
    explained = (
        "AUROC: on chains that discover did not watch, how well the neuron’s firing tells tokens of its concept from "
        "others (0.5: not at all); specific: from those of the concept it tells apart worst. Validated: labels whose "
        "95 % interval lies above 0.5, of those tested."
    )
    parts = [
        prose(f"What a neuron promotes was matched with the words of each concept. Verdicts: {'; '.join(told)}."),
        table(head, list(_concepts(given)), id="labels"),
        note(explained),
        element("h3", "Labels where there are none to give"),
        table(
            ["judge", "asked about", "asked", "labelled", "rate"], list(_controls(labelling.controls)), id="controls"
        ),
        note(
            "Decoys are random token sets of the same size. Where they are labelled as often as concepts, promoting a "
            "token says nothing special of a concept: what a label is worth is then its AUROC alone."
        ),
    ]
    if labelling.agreement is not None:
        head = ["concept", "judges", "both", "only first", "only second", "neither", "Cohen’s κ"]
        parts += [element("h3", "Two judges"), table(head, list(_agreed(labelling.agreement)), id="agreement")]
    return parts


def layer_map(evidence: Evidence) -> list[Markup]:
    """How many neurons each layer has of each concept (without labels: for each kind of token)."""
    topics = evidence.topics
    counts = {(layer, topic): n for layer, topic, n in topics.group_by("layer", "topic").len().iter_rows()}
    names = topics["topic"].unique(maintain_order=True).sort().to_list()
    layers = sorted(evidence.neurons["layer"].unique(), reverse=True)
    most = max(counts.values(), default=1)
    rows = [[f"layer {layer}", *(_shaded(counts.get((layer, name), 0), most) for name in names)] for layer in layers]
    lead = f"Neurons (with their sign) of each layer by {evidence.topic}; a neuron may have several."
    return [prose(lead), table(["", *names], rows, id="map", class_="heat")]


def _shaded(number: int, most: int) -> Markup:
    return cell(number or "", style=f"--part:{number / most:.3f}")


def _telling(found: pl.DataFrame) -> Iterator[list[Child]]:
    for row in found.iter_rows(named=True):
        numbers = [real(row["contrast"]), share(row["hit_rate"])]
        yield [row["focus"], code(row), *numbers, chips(row["promotes"]), chips(row["suppresses"], "less")]


def code(row: dict[str, object]) -> Markup:
    """A neuron's name."""
    return element("span", name(row).replace("-", "−"), class_="neuron")


def chips(tokens: Sequence[str], kind: str | None = None, most: int = _TOKENS) -> Markup:
    """Tokens, each in a box that shows its spaces."""
    names = [readable(token).replace("\n", "⏎").replace("\\n", "⏎") for token in tokens[:most]]
    return element("span", (element("code", each) for each in names), class_=f"chips {kind or ''}".strip())


def _concepts(given: pl.DataFrame) -> Iterator[list[Child]]:
    for (judge, concept), of_it in given.group_by("judge", "concept", maintain_order=True):
        tested = of_it.drop_nulls("auroc")
        held = f"{int(tested['validated'].sum())} of {len(tested)}" if len(tested) else NONE
        yield [judge, concept, f"{of_it.select(NEURON_KEY).n_unique():,}", real(median(of_it["score"])),
               real(median(tested["auroc"])),
               real(median(tested["specific_auroc"])), held]  # fmt: skip


def _controls(controls: pl.DataFrame) -> Iterator[list[Child]]:
    what = {"concepts": "the concepts", "decoys": "decoy concepts", "shuffled": "shuffled token lists"}
    for row in controls.iter_rows(named=True):
        yield [row["judge"], what[row["control"]], f"{row['asked']:,}", f"{row['labelled']:,}", share(row["rate"])]


def _agreed(agreement: pl.DataFrame) -> Iterator[list[Child]]:
    for row in agreement.iter_rows(named=True):
        counts = [row[each] for each in ("both", "only_judge", "only_other", "neither")]
        yield [row["concept"], f"{row['judge']} and {row['other']}", *counts, real(row["kappa"])]
