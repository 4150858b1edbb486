"""Activity of concepts, against plain Hugging Face forwards, planted neurons, and numbers worked out by hand."""

from pathlib import Path
from typing import Any

import actkit
import numpy as np
import polars as pl
import pytest
import torch
from cot_neurons.activities import summaries
from cot_neurons.activities.levels import Levels
from cot_neurons.activity import activity
from cot_neurons.finished import finished
from cot_neurons.infer import infer
from cot_neurons.options import ActivityOptions, InferOptions
from cot_neurons.subject import Subject
from cot_neurons.tags import Pieces, tag
from specimens import families, planted
from transformers import AutoModelForCausalLM

from tests.packages.cot_neurons import made

DOWN = {"llama": "model.layers.{}.mlp.down_proj", "gemma2": "model.layers.{}.mlp.down_proj",
        "gpt2": "transformer.h.{}.mlp.c_proj", "opt": "model.decoder.layers.{}.fc2"}  # fmt: skip
LABELS = [(0, 3, "+", "add"), (0, 3, "-", "add"), (1, 5, "-", "add"), (1, 5, "-", "equal"), (2, 40, "+", "equal"),
          *((layer, neuron, "+", "add") for layer in range(3) for neuron in (10, 20, 30))]  # fmt: skip


def _table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "tables" / f"{name}.parquet")


def _options(**given: Any) -> ActivityOptions:
    return ActivityOptions.model_validate(given)


def _plain(hf: Any, path: str, ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Activations [T, N] of one layer on one text, and the norms of its value vectors, by a hook of our own."""
    seen: list[torch.Tensor] = []
    down = hf.get_submodule(path)
    handle = down.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    with torch.no_grad():
        hf(torch.tensor([ids]))
    handle.remove()
    by_neuron = 1 if type(down).__name__ == "Conv1D" else 0
    return seen[0].reshape(len(ids), -1).numpy(), down.weight.detach().norm(dim=by_neuron).numpy()


def _expected(hf: Any, path: str, tokenizer: Any, items: pl.DataFrame, k: int) -> dict[tuple[int, str, str], list[Any]]:
    """(row, concept, tag) -> [active, strength] per step, in plain loops."""
    found: dict[tuple[int, str, str], list[Any]] = {}
    for row in items["row"]:
        prompt, new = made.steps(items, row)
        tags = tag(Pieces(tokenizer)(new))
        layers = [_plain(hf, path.format(layer), prompt + new) for layer in range(3)]
        for step, kind in enumerate(tags):
            if kind == "after_answer":
                break
            for concept in ("add", "equal"):
                active, strength = 0, 0.0
                members = [each for each in LABELS if each[3] == concept]
                for layer, neuron, sign, _ in members:
                    m, norms = layers[layer]
                    score = (m[len(prompt) + step - 1] * norms) * (1 if sign == "+" else -1)
                    active += int(score[neuron] > 0 and np.sum(score > score[neuron]) < k)
                    strength += max(0.0, float(score[neuron]))
                found.setdefault((row, concept, kind), []).append((active, strength / len(members)))
    return found


@pytest.mark.parametrize("family", list(DOWN))
def test_each_step_is_what_plain_forwards_show(family: str):
    hf, tokenizer = families.tiny_model(family), families.tiny_tokenizer()
    items = made.items("tiny", tokenizer)
    subject = Subject(actkit.load(hf, tokenizer=tokenizer), "tiny")
    levels = Levels(subject, made.labels("tiny", [*LABELS, LABELS[0]]), k=6)  # labelled twice, counted once
    assert levels.sizes == {"add": 12, "equal": 2}
    found = pl.concat([levels(chains) for chains in finished(items, subject, 3)])
    expected = _expected(hf, DOWN[family], tokenizer, items, k=6)
    assert len(found) == len(expected)
    for row, concept, kind, steps, active, strength in found.iter_rows():
        values = np.array(expected[row, concept, kind])
        assert steps == len(values)
        assert active == pytest.approx(values[:, 0].mean())
        assert strength == pytest.approx(values[:, 1].mean(), rel=1e-4, abs=1e-6)
    assert found["active"].sum() > 0


def test_planted_neurons_are_active_just_where_they_fire(workplace: Path):
    """A plant is active at the steps that follow the tokens it fires on; with the wrong sign it never is."""
    model = str(planted.save(workplace / "planted"))
    (workplace / "one.jsonl").write_text('{"question": "Ann has 2 apples and gets 3 more. How many apples are there?", '
                                         '"answer": "#### 5"}\n')  # fmt: skip
    items = infer(InferOptions.model_validate({"model": model, "data": "one.jsonl"}))
    concepts = {f"plant{i}": plant for i, plant in enumerate(planted.PLANTS)}
    lines = [(p.layer, p.neuron, "+" if p.sign > 0 else "-", concept) for concept, p in concepts.items()]
    wrong = [(1, 9, "+", "never")]
    labels = made.save(made.labels("planted", lines + wrong), workplace / "labels.parquet")
    folder = activity(_options(model=model, items=(str(items),), labels=labels, k=1))
    found = _table(folder, "item_activity")

    words = planted._pieces(planted.CHAIN)
    tags = tag(words)
    before = [planted._pieces(planted.PROMPT)[-1], *words]
    for concept, plant in concepts.items():
        size = plant.size * sum(weight**2 for weight in plant.weights) ** 0.5
        for kind, steps, active, strength in (
            found.filter(concept=concept).select("tag", "steps", "active", "strength").rows()
        ):
            fires = [before[i] in plant.fires_on for i, each in enumerate(tags) if each == kind]
            assert steps == len(fires)
            assert active == pytest.approx(np.mean(fires))
            assert strength == pytest.approx(size * np.mean(fires), rel=1e-3)
    assert found.filter(concept="never")["active"].sum() == 0
    assert found.filter(concept="never")["strength"].sum() == 0
    means = _table(folder, "activity").filter(concept="plant1", group="right").select("tag", "items", "active").rows()
    assert {kind: active for kind, _, active in means}["result"] == 1
    assert {kind: active for kind, _, active in means}["all"] == pytest.approx(1 / len(words))
    correlations = _table(folder, "correlations")
    assert correlations["r"].null_count() == len(correlations)  # one variant, one item: nothing to correlate


@pytest.fixture
def several(workplace: Path) -> dict[str, Any]:
    """A tiny model, four runs of different accuracy on the same problems, and labels."""
    model, tokenizer = str(families.save("llama", workplace / "tiny")), families.tiny_tokenizer()
    runs = [
        made.save(
            made.items("tiny", tokenizer, variant=f"v{n}", chains=[*made.CHAINS[n:], *made.CHAINS[:n]],
                       right=[i < n for i in range(4)]), workplace / f"v{n}.parquet")
        for n in range(4)
    ]  # fmt: skip
    labels = made.save(made.labels("tiny", LABELS), workplace / "labels.parquet")
    return {"model": model, "items": tuple(runs), "labels": labels, "k": 5, "batch_size": 2}


@pytest.mark.usefixtures("drawn")
def test_the_stage_tells_means_accuracy_and_correlations(several: dict[str, Any]):
    folder = activity(_options(**several))
    items, means, correlations = (_table(folder, name) for name in ("item_activity", "activity", "correlations"))
    assert dict(means.select("variant", "accuracy").unique().rows()) == {"v0": 0, "v1": 0.25, "v2": 0.5, "v3": 0.75}
    for line in means.iter_rows(named=True):
        some = items.filter(variant=line["variant"], concept=line["concept"])
        some = some if line["group"] == "all" else some.filter(right=line["group"] == "right")
        some = some if line["tag"] == "all" else some.filter(tag=line["tag"])
        per_item = [
            np.average(each["active"], weights=each["steps"]) for each in some.partition_by("row", maintain_order=True)
        ]
        assert line["items"] == len(per_item)
        assert line["active"] == (pytest.approx(np.mean(per_item)) if per_item else None)
        if len(per_item) > 1:
            ends = [min(per_item), line["active_low"], line["active"], line["active_high"], max(per_item)]
            assert (np.diff(ends) > -1e-9).all()
        else:
            assert line["active_low"] is None
    for line in correlations.filter(measure="strength").iter_rows(named=True):
        some = means.filter(concept=line["concept"], tag="all", group="all").sort("variant")
        if line["level"] == "variants":
            assert line["n"] == 4
            assert line["r"] == pytest.approx(np.corrcoef(some["strength"], some["accuracy"])[0, 1])
        else:
            assert (line["r"] is None) == (line["level"] == "v0")  # there every item is wrong
    assert (folder / "figures" / "activity.png").stat().st_size > 10_000
    assert (folder / "figures" / "activity_by_tag.png").stat().st_size > 10_000


def _by_hand(effect: float, items: int = 60, variants: int = 8) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """Activity whose mean over variants goes with accuracy as much as `effect` says."""
    random = np.random.default_rng(0)
    skill = np.linspace(0.2, 0.9, variants)
    other = random.permutation(skill)
    lines, runs = [], {}
    for v in range(variants):
        right = random.random(items) < skill[v]
        runs[f"v{v}"] = pl.DataFrame({"row": np.arange(items), "correct_strict": right})
        level = effect * skill[v] + (1 - effect) * other[v] + random.normal(0, 0.1, items)
        lines.append(pl.DataFrame({"variant": f"v{v}", "row": np.arange(items), "right": right, "concept": "add",
                                   "tag": "all", "steps": 5, "active": level, "strength": level}))  # fmt: skip
    return pl.concat(lines), runs


def test_correlation_over_variants_is_found_where_it_is_and_not_where_it_is_not():
    with_, without = (
        summaries.correlations(*_by_hand(effect), seed=0).filter(level="variants", measure="active").row(0, named=True)
        for effect in (1.0, 0.0)
    )
    assert with_["r"] > 0.95
    assert with_["r_low"] > 0.8
    assert without["r_low"] < 0 < without["r_high"]


def test_two_variants_lie_on_a_line_whatever_is_true():
    found = summaries.correlations(*_by_hand(1.0, variants=2), seed=0).filter(level="variants")
    assert found["n"].to_list() == [2, 2]
    assert found["r"].to_list() == [None, None]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"items": ("v1.parquet", "v2.parquet", "v1.parquet")}, ["v1.parquet", "'v1'", "one run per variant"]),
        ({"items": ("v1.parquet", "other.parquet")}, ["v1.parquet", "other.parquet", "row 2", "another problem"]),
        ({"items": ("v1.parquet", "apart.parquet")}, ["apart.parquet", "no row is in both"]),
        ({"items": ("v1.parquet", "stranger.parquet")}, ["stranger.parquet", "'big'", "'tiny'"]),
        ({"labels": "big.parquet"}, ["big.parquet", "'big'", "'tiny'"]),
        ({"labels": "outside.parquet"}, ["L2N900", "48 neurons"]),
        ({"labels": "none.parquet"}, ["none.parquet", "no rows"]),
        ({"k": 49}, ["--k 49", "48 neurons"]),
    ],
    ids=[
        "twice",
        "other-data",
        "no-common-row",
        "items-of-another",
        "labels-of-another",
        "no-such-neuron",
        "no-label",
        "k",
    ],
)
def test_mistakes_are_told(workplace: Path, several: dict[str, Any], changes: dict[str, Any], words: list[str]):
    first = pl.read_parquet("v1.parquet")
    moved = first.with_columns(question=pl.when(pl.col("row") == 2).then(pl.lit("Why?")).otherwise("question"))
    made.save(moved.with_columns(variant=pl.lit("cot")), workplace / "other.parquet")
    made.save(first.with_columns(pl.col("row") + 9, variant=pl.lit("cot")), workplace / "apart.parquet")
    made.save(first.with_columns(model=pl.lit("big"), variant=pl.lit("cot")), workplace / "stranger.parquet")
    made.save(made.labels("big", LABELS), workplace / "big.parquet")
    made.save(made.labels("tiny", [(2, 900, "+", "add")]), workplace / "outside.parquet")
    made.save(made.labels("tiny", []), workplace / "none.parquet")
    with pytest.raises(Exception, match=words[0].replace("+", r"\+")) as told:
        activity(_options(**{**several, **changes}))
    assert type(told.value).__name__ in ("UsageError", "DataError")
    for word in words:
        assert word in str(told.value)


def test_only_items_that_every_run_has_are_compared(
    several: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    made.draw_nothing(monkeypatch)
    pl.read_parquet("v2.parquet").filter(pl.col("row") != 1).write_parquet("v2.parquet")
    folder = activity(_options(**several))
    assert _table(folder, "item_activity")["row"].unique().sort().to_list() == [0, 2, 3]
    assert "3 items are in every run; 3 that are not" in capsys.readouterr().err


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(several: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    made.draw_nothing(monkeypatch)
    whole = activity(_options(**several, out=Path("whole")))
    measure, done = Levels.__call__, []

    def dies(self: Levels, chains: Any) -> pl.DataFrame:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(chains)
        return measure(self, chains)

    monkeypatch.setattr(Levels, "__call__", dies)
    with pytest.raises(KeyboardInterrupt):
        activity(_options(**several, out=Path("killed")))
    done.clear()
    monkeypatch.setattr(Levels, "__call__", lambda self, chains: done.append(chains) or measure(self, chains))
    again = activity(_options(**several, out=Path("killed")))
    assert len(done) == 8 - 3
    for name in ("item_activity", "activity", "correlations"):
        assert (again / "tables" / f"{name}.parquet").read_bytes() == (
            whole / "tables" / f"{name}.parquet"
        ).read_bytes()


def test_experts_are_refused(workplace: Path):
    model = str(families.save("mixtral", workplace / "mixed"))
    items = made.save(made.items("mixed", families.tiny_tokenizer()), workplace / "items.parquet")
    labels = made.save(made.labels("mixed", [(0, 1, "+", "add")]), workplace / "labels.parquet")
    assert AutoModelForCausalLM.from_pretrained(model).config.model_type == "mixtral"
    with pytest.raises(Exception, match="experts, which activity does not look at"):
        activity(_options(model=model, items=(items,), labels=labels))
