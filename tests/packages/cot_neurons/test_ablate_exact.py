"""Many conditions in a batch against each alone, in plain Hugging Face models with hooks or weights of the test's own.

And that nothing is left behind."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import actkit
import numpy as np
import polars as pl
import pytest
import torch
from cot_neurons.ablate import ablate
from cot_neurons.ablation import draws, interventions
from cot_neurons.ablation.cases import Case, Trial
from cot_neurons.ablation.interventions import Condition, Interventions, Neuron, Rows
from cot_neurons.ablation.reference import Reference
from cot_neurons.options import AblateOptions, Mode, Place
from cot_neurons.subject import Subject
from specimens import families
from torch import Tensor

from tests.packages.cot_neurons import made

FAMILIES = ["llama", "gpt2", "gemma2"]
ON_ACTIVATIONS: tuple[Mode, ...] = ("zero", "mean", "scale", "noise", "resample")
ON_VALUES: tuple[Mode, ...] = ("value-noise", "reference")
ASKED: tuple[Neuron, ...] = ((1, 5), (1, 7), (2, 9), (0, 3), (2, 11))
"""Where the original, pairing the list's first neurons with its distinct layers, would touch (1, 5), (2, 7), (0, 9)."""
CONDITIONS = [
    Condition(0, None, "baseline", 0, 0.0, ()),
    Condition(1, "add", "target", 0, 3.0, ASKED),
    Condition(2, "add", "random", 0, -2.0, ((1, 7), (2, 0), *((0, unit) for unit in range(12)))),
    Condition(3, "add", "random", 1, 3.0, tuple((2, unit) for unit in range(20))),
]
SEED, NEW, BANK = 4, 6, 9
GROUPS = [("rest", 0), ("rest", 0), ("+", 0), ("+", 0), ("rest", 0), ("+", 1), ("answer", 0)]


def _subject(family: str) -> Subject:
    return Subject(actkit.load(families.tiny_model(family), tokenizer=families.tiny_tokenizer()), "tiny")


def _cases() -> list[Case]:
    random = torch.Generator().manual_seed(1)
    ids = [torch.randint(3, 300, (length,), generator=random).tolist() for length in (9, 4, 7, 7)]
    return [Case(0, "items", 0, ids[0], "5", ids[2], GROUPS, []), Case(5, "items", 1, ids[1], "5", ids[3], GROUPS, [])]


def _reference(subject: Subject, conditions: list[Condition]) -> Reference:
    """Numbers of no meaning, so that whatever is mixed up shows."""
    random = torch.Generator().manual_seed(2)
    dims = subject.model.dims
    mean, deviation, strength = (
        {layer: torch.rand(dims.d_mlp, generator=random) * 2 + 0.5 for layer in range(dims.layers)} for _ in range(3)
    )
    touched = interventions.units(conditions)
    bank = {layer: torch.randn(BANK, len(units), generator=random) for layer, units in touched.items()}
    return Reference(mean, deviation, strength, bank)


def _trial(subject: Subject, mode: Mode, where: Place) -> tuple[Trial, Reference]:
    known = _reference(subject, CONDITIONS)
    made = Interventions(subject.model, CONDITIONS, known, mode=mode, where=where, seed=SEED)
    return Trial(subject, made, stops=(), tokens=NEW), known


def _down(hf: Any, layer: int) -> Any:
    """A layer's down projection."""
    return hf.transformer.h[layer].mlp.c_proj if hasattr(hf, "transformer") else hf.model.layers[layer].mlp.down_proj


def _changed(
    mode: Mode, condition: Condition, known: Reference, neuron: Neuron
) -> Callable[[Tensor, Any, int], Tensor]:
    """(activations at some positions, those positions, case) -> what becomes of them."""
    layer, unit = neuron
    name = torch.tensor((layer << 32) + unit)
    column = interventions.units(CONDITIONS)[layer].index(unit)

    def noisy(m: Tensor, positions: Tensor, case: int) -> Tensor:
        drawn = draws.gaussian(SEED, torch.tensor(case), positions, name)
        return m + condition.amount * known.deviation[layer][unit] * drawn

    def resampled(_m: Tensor, positions: Tensor, case: int) -> Tensor:
        step = np.floor(draws.uniform(SEED, torch.tensor(case), positions).numpy() * BANK).astype(int)
        return known.bank[layer][step, column]

    plain: dict[str, Callable[[Tensor, Any, int], Tensor]] = {
        "zero": lambda m, _positions, _case: m * 0,
        "mean": lambda m, _positions, _case: m * 0 + known.mean[layer][unit],
        "scale": lambda m, _positions, _case: m * condition.amount,
        "noise": noisy,
        "resample": resampled,
    }
    return plain[mode]


def _inside(where: Place, prompt: int, length: int) -> range:
    return {"all": range(length), "prompt": range(prompt - 1), "generated": range(prompt - 1, length)}[where]


def _hooked(hf: Any, mode: Mode, condition: Condition, known: Reference, case: Case, where: Place) -> list[Any]:
    """Hooks of our own on every layer's down projection, for one row without padding."""

    def hook(layer: int) -> Callable[..., Any]:
        def change(_module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            m = args[0].clone()
            positions = torch.tensor(list(_inside(where, len(case.prompt_ids), m.shape[1])), dtype=torch.int64)
            for at, unit in condition.neurons:
                if at == layer:
                    new = _changed(mode, condition, known, (at, unit))
                    m[0, positions, unit] = new(m[0, positions, unit], positions, case.number)
            return (m,)

        return change

    layers = sorted({layer for layer, _ in condition.neurons})
    return [_down(hf, layer).register_forward_pre_hook(hook(layer)) for layer in layers]


def _rewritten(hf: Any, mode: Mode, condition: Condition) -> Any:
    """A copy whose value vectors are other ones."""
    hf = copy.deepcopy(hf)
    with torch.no_grad():
        for layer, unit in condition.neurons:
            weight = _down(hf, layer).weight
            vectors = weight if hasattr(hf, "transformer") else weight.T  # Conv1D holds them as rows
            v = vectors[unit]
            entries = torch.arange(len(v))
            if mode == "reference":
                v.copy_(draws.gaussian(SEED, entries) - 1)
            else:
                drawn = draws.gaussian(SEED, torch.tensor((layer << 32) + unit), entries)
                v.add_(condition.amount * v.norm() * drawn / len(v) ** 0.5)
    return hf


@torch.no_grad()
def _alone(hf: Any, case: Case) -> tuple[list[int], dict[str, float]]:
    """Greedy tokens, and scores of the forced ones by group: whole forwards, no cache, no padding."""
    ids = list(case.prompt_ids)
    for _ in range(NEW):
        ids.append(int(hf(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == hf.config.eos_token_id:
            break
    logits = hf(torch.tensor([case.prompt_ids + case.forced])).logits[0, len(case.prompt_ids) - 1 : -1].double()
    p = logits.softmax(-1)[range(len(case.forced)), case.forced]
    told: dict[str, float] = {"logp_rest": 0.0, "odds_rest": 0.0, "logp_+": 0.0, "odds_+": 0.0}
    for i, (name, number) in enumerate(GROUPS):
        name = {"answer": "gold"}.get(name, name)
        tokens = 1 if name == "rest" else GROUPS.count((GROUPS[i][0], number))
        told[f"logp_{name}"] = told.get(f"logp_{name}", 0) + float(p[i].log())
        told[f"odds_{name}"] = told.get(f"odds_{name}", 0) + float((p[i] / (1 - p[i])).log()) / tokens
    return ids[len(case.prompt_ids) :], told


def _expected(
    hf: Any, mode: Mode, condition: Condition, known: Reference, case: Case, where: Place
) -> tuple[list[int], dict[str, float]]:
    if mode in ON_VALUES:
        return _alone(_rewritten(hf, mode, condition), case)
    handles = _hooked(hf, mode, condition, known, case, where)
    try:
        return _alone(hf, case)
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("mode", "where"),
    [*((mode, "all") for mode in (*ON_ACTIVATIONS, *ON_VALUES)), ("noise", "prompt"), ("mean", "generated")],
)
def test_a_batch_of_conditions_equals_each_alone(family: str, mode: Mode, where: Place):
    subject, cases = _subject(family), _cases()
    hf, tokenizer = subject.model.hf, families.tiny_tokenizer()
    trial, known = _trial(subject, mode, where)
    pairs = [(condition, case) for case in cases for condition in CONDITIONS]
    told: dict[Any, Any] = {(each["condition"], each["row"]): each for each in trial(pairs)}
    seen: set[float] = set()
    for condition, case in pairs:
        tokens, scores = _expected(hf, mode, condition, known, case, where)
        row = told[condition.number, case.row]
        assert row["text"] == tokenizer.decode(tokens, skip_special_tokens=True)
        assert {name: row[name] for name in scores} == {
            name: pytest.approx(value, abs=1e-4) for name, value in scores.items()
        }
        assert (row["rest"], row["forced_+"]) == (3, 2)
        seen.add(round(scores["logp_rest"], 3))
    # The last layer of a prompt's earlier tokens is read by nobody, so that one condition then is the whole model.
    assert len(seen) == len(pairs) - (2 if where == "prompt" else 0), "conditions alike would prove nothing"


@pytest.mark.parametrize("family", FAMILIES)
def test_exactly_the_neurons_asked_for_are_touched(family: str):
    """Those at which the down projection gets exactly 0, in the rows of the condition and in no others."""
    subject = _subject(family)
    made = Interventions(
        subject.model, CONDITIONS, _reference(subject, CONDITIONS), mode="zero", where="all", seed=SEED
    )
    seen: dict[int, Tensor] = {}
    for layer in range(3):
        _down(subject.model.hf, layer).register_forward_pre_hook(
            lambda _m, args, layer=layer: seen.update({layer: args[0].clone()})
        )
    rows = Rows(torch.tensor([1, 0, 2]), torch.tensor([0, 0, 0]), torch.tensor([5, 5, 5]))
    subject.model.run(subject.model.encode([[5, 6, 7, 8, 9]] * 3), edits=made.edits(rows))
    for row, condition in enumerate((CONDITIONS[1], CONDITIONS[0], CONDITIONS[2])):
        silent = {(layer, int(unit)) for layer in seen for unit in (seen[layer][row] == 0).all(0).nonzero()}
        touched = {(layer, int(unit)) for layer in seen for unit in (seen[layer][row] == 0).any(0).nonzero()}
        assert silent == touched == set(condition.neurons)


def _state(hf: Any) -> tuple[list[Tensor], Any]:
    hooks = [(m._forward_hooks, m._forward_pre_hooks, m._backward_hooks) for m in hf.modules()]
    return [each.clone() for each in hf.state_dict().values()], [[len(each) for each in kinds] for kinds in hooks]


def _same(hf: Any, before: tuple[list[Tensor], Any], logits: Tensor, ids: Tensor) -> None:
    weights, hooks = _state(hf)
    assert all(torch.equal(a, b) for a, b in zip(weights, before[0], strict=True))
    assert hooks == before[1]
    with torch.no_grad():
        assert torch.equal(hf(ids).logits, logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_left_behind(family: str, monkeypatch: pytest.MonkeyPatch):
    """After every mode, and after an error in the middle of decoding: logits bit for bit, weights, hooks."""
    subject, cases = _subject(family), _cases()
    hf: Any = subject.model.hf
    ids = torch.tensor([cases[0].prompt_ids])
    with torch.no_grad():
        logits = hf(ids).logits
    before = _state(hf)
    pairs = [(condition, case) for case in cases for condition in CONDITIONS]
    for mode in (*ON_ACTIVATIONS, *ON_VALUES):
        _trial(subject, mode, "all")[0](pairs)
        _same(hf, before, logits, ids)
    calls: list[int] = []

    def breaks(_layer: Any, old: Tensor, *_rest: Any) -> Tensor:
        calls.append(1)
        if len(calls) == 8:  # in the third forward pass of three layers
            raise ZeroDivisionError
        return old

    monkeypatch.setitem(interventions._NEW, "zero", breaks)
    with pytest.raises(ZeroDivisionError):
        _trial(subject, "zero", "all")[0](pairs)
    assert len(calls) == 8
    _same(hf, before, logits, ids)


@pytest.mark.parametrize("mode", ["zero", "noise", "value-noise", "reference"])
def test_rows_without_an_intervention_are_the_models_own(mode: Mode):
    """Beside rows that are changed beyond recognition, bit for bit."""
    subject = _subject("llama")
    known = _reference(subject, CONDITIONS)
    made = Interventions(subject.model, CONDITIONS, known, mode=mode, where="all", seed=SEED)
    batch = subject.model.encode([[5, 6, 7, 8, 9]] * 3)
    rows = Rows(torch.tensor([1, 0, 3]), torch.tensor([0, 0, 0]), torch.tensor([5, 5, 5]))
    edited = subject.model.run(batch, edits=made.edits(rows), logits="all").logits
    plain = subject.model.run(batch, logits="all").logits
    assert edited is not None
    assert plain is not None
    assert torch.equal(edited[1], plain[1])
    assert not torch.allclose(edited[0], plain[0])
    assert not torch.allclose(edited[2], plain[2])


def test_value_noise_has_the_size_it_says():
    """The value vectors of a dose x differ by x times their norm, in directions that have nothing in common."""
    subject = Subject(actkit.load(families.tiny_model("llama", families.Shape(d_model=256, d_mlp=64))), "wide")
    wanted = [
        Condition(0, None, "baseline", 0, 0.0, ()),
        *(Condition(i + 1, "a", "target", 0, 0.5, ((1, i),)) for i in range(64)),
    ]
    known = _reference(subject, wanted)
    made = Interventions(subject.model, wanted, known, mode="value-noise", where="all", seed=SEED)
    rows = Rows(torch.arange(65), torch.zeros(65, dtype=torch.int64), torch.full((65,), 2))
    run = subject.model.run(
        subject.model.encode([[5, 6]] * 65), capture=["mlp_out.1", "mlp_post.1"], edits=made.edits(rows), logits=None
    )
    written = run["mlp_out.1"][1:, -1] - run["mlp_out.1"][0, -1]
    noise = written / run["mlp_post.1"][0, -1][:, None]
    sizes = (noise.norm(dim=1) / subject.model.value_vectors(1).norm(dim=1)).detach()
    assert float(sizes.mean()) == pytest.approx(0.5, rel=0.03)
    assert float(sizes.std()) < 0.05
    directions = noise / noise.norm(dim=1, keepdim=True)
    alike = directions @ directions.T - torch.eye(64)
    assert float(alike.abs().max()) < 5 / 256**0.5
    assert float(noise.mean() / noise.std()) == pytest.approx(0, abs=4 / (64 * 256) ** 0.5)


@pytest.mark.parametrize("mode", ["noise", "resample", "value-noise"])
def test_the_batch_size_changes_no_draw(mode: Mode, workplace: Path, monkeypatch: pytest.MonkeyPatch):
    """Every row is drawn for by item, position and neuron, whoever shares its batch; only rounding may differ."""
    made.draw_nothing(monkeypatch)
    tokenizer = families.tiny_tokenizer()
    items = made.items("tiny", tokenizer).with_columns(solution=pl.col("text"), gold=pl.Series(["19", "18", "6", "9"]))
    given = {
        "model": str(families.save("llama", workplace / "tiny")),
        "items": made.save(items, workplace / "items.parquet"),
        "labels": made.save(made.labels("tiny", [(0, 3, "+", "add"), (1, 5, "-", "so")]), workplace / "labels.parquet"),
        "mode": mode, "min_auroc": 0, "draws": 2, "amounts": () if mode == "resample" else (2.0,),
        "max_new_tokens": 16,
    }  # fmt: skip
    tables = [
        pl.read_parquet(ablate(AblateOptions.model_validate({**given, "batch_size": size})) / "tables/outcomes.parquet")
        for size in (3, 64)
    ]
    assert tables[0]["text"].to_list() == tables[1]["text"].to_list()
    for name in ("logp_+", "odds_*", "logp_gold", "logp_rest", "odds_rest"):
        one, other = (table[name].drop_nulls().to_numpy() for table in tables)
        assert len(one)
        np.testing.assert_allclose(one, other, atol=1e-4)
    # Not because nothing was drawn:
    assert len(tables[0].filter(row=0)["logp_rest"].round(6).unique()) > 2
