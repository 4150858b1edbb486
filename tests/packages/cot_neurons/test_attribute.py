"""Attribution against hooks on plain Hugging Face models, against actkit's own, and against neurons set by hand."""

import math
from pathlib import Path
from typing import Any

import actkit
import numpy as np
import polars as pl
import pytest
import torch
from cot_neurons.attribute import attribute
from cot_neurons.attributions import shares
from cot_neurons.attributions.layers import Layer, Layers, token_rows
from cot_neurons.attributions.readout import Readout
from cot_neurons.attributions.shares import Poles, Shares
from cot_neurons.finished import Chains, finished
from cot_neurons.infer import infer
from cot_neurons.options import AttributeOptions, InferOptions
from cot_neurons.subject import Subject
from cot_neurons.tags import KINDS
from specimens import families, planted
from torch import Tensor

from tests.packages.cot_neurons import made

FAMILIES = ["llama", "gpt2", "gemma2", "gpt_neox", "granite", "opt", "phi", "cohere", "falcon-serial"]


def _options(**given: Any) -> AttributeOptions:
    return AttributeOptions.model_validate(given)


def _table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "tables" / f"{name}.parquet")


def _subject(family: str, dtype: torch.dtype = torch.float32) -> tuple[Subject, pl.DataFrame]:
    tokenizer = families.tiny_tokenizer()
    subject = Subject(actkit.load(families.tiny_model(family, dtype=dtype), tokenizer=tokenizer), "tiny")
    return subject, made.items("tiny", tokenizer)


def _shown(subject: Subject, items: pl.DataFrame, batch_size: int = 4) -> tuple[Chains, list[Layer]]:
    chains = finished(items, subject, batch_size)
    readout, seen = Readout(subject.model), []
    show = Layers(subject.model, readout, range(subject.model.dims.layers))
    show(chains[0], token_rows(readout, chains)(chains[0]), seen.append)
    return chains[0], seen


def _share(subject: Subject, layer: Layer) -> Tensor:
    return (layer.m * (layer.direction @ subject.model.value_vectors(layer.number).T)).detach()


@pytest.mark.parametrize("family", FAMILIES)
def test_each_neurons_share_is_actkits(family: str):
    """At every step, against `direct_logit_attribution`, which goes through autograd and one position at a time."""
    subject, items = _subject(family)
    model = subject.model
    chains, layers = _shown(subject, items)
    kinds = ["resid_pre.0", "resid_mid.*", "resid_post.*", "attn_out.*", "mlp_out.*", "mlp_post.*"]
    capture = [kind for kind in kinds if any(name.startswith(kind.rstrip("*")) for name in model.sites)]
    row, column = (each.tolist() for each in chains.places)
    for step in range(0, len(row), 7):
        token = int(chains.steps["token_id"][step])
        ids = chains.batch.ids[row[step]]
        one = model.run(model.encode([ids[: column[step] + 1]]), capture=capture)
        theirs = actkit.direct_logit_attribution(model, one, token, by="neuron").parts["neuron"][0]
        ours = torch.stack([_share(subject, layer)[step] for layer in layers])
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-3 * float(theirs.abs().max()))
    ids = torch.tensor(chains.steps["token_id"].to_list())
    run = model.run(chains.batch, capture="resid_post.*", logits="all")
    assert run.logits is not None
    last = chains.written(run[f"resid_post.{model.dims.layers - 1}"])
    logp = chains.written(run.logits).log_softmax(-1).gather(-1, ids[:, None])[:, 0]
    torch.testing.assert_close(Readout(model).logp(last, ids), logp, rtol=1e-4, atol=1e-4)


class Plain:
    """A Llama or Gemma 2 model's own forward, with hooks of ours: one text, float32."""

    def __init__(self, hf: Any, ids: list[int]) -> None:
        self.hf, self.blocks = hf, hf.model.layers
        self.m, self.stream, self.out, self.last = {}, {}, {}, torch.empty(0)
        handles = [hf.model.norm.register_forward_pre_hook(lambda _m, args: setattr(self, "last", args[0][0]))]
        for i, block in enumerate(self.blocks):
            before = block.pre_feedforward_layernorm if self.gemma else block.post_attention_layernorm
            handles += [
                block.mlp.down_proj.register_forward_pre_hook(lambda _m, args, i=i: self.m.update({i: args[0][0]})),
                block.mlp.register_forward_hook(lambda _m, _a, out, i=i: self.out.update({i: out[0]})),
                before.register_forward_pre_hook(lambda _m, args, i=i: self.stream.update({i: args[0][0]})),
            ]
        with torch.no_grad():
            hf(torch.tensor([ids]))
        for handle in handles:
            handle.remove()

    @property
    def gemma(self) -> bool:
        return self.hf.config.model_type == "gemma2"

    def written(self, layer: int, at: int, neuron: int) -> Tensor:
        """What a neuron adds to the stream; in Gemma 2 through the norm behind the MLP, its scale held."""
        v = self.m[layer][at, neuron] * self.blocks[layer].mlp.down_proj.weight[:, neuron]
        if not self.gemma:
            return v
        out = self.out[layer][at]
        gain = 1 + self.blocks[layer].post_feedforward_layernorm.weight
        return v * gain / (out.pow(2).mean() + self.hf.config.rms_norm_eps).sqrt()

    def logit(self, layer: int, at: int, neuron: int, token: int) -> float:
        """The neuron's part of the token's logit, the final norm's scale held."""
        scale = (self.last[at].pow(2).mean() + self.hf.config.rms_norm_eps).sqrt()
        gain = self.hf.model.norm.weight + (1 if self.gemma else 0)
        return float((self.written(layer, at, neuron) * gain / scale) @ self.hf.lm_head.weight[token])

    def logp(self, layer: int, at: int, neuron: int, token: int) -> float:
        """log p(w | h + m·v) - log p(w | h), both through the model's own norm, head and soft cap."""
        h = self.stream[layer][at]
        after, before = (self._read(x)[token] for x in (h + self.written(layer, at, neuron), h))
        return float(after - before)

    def _read(self, x: Tensor) -> Tensor:
        logits = self.hf.lm_head(self.hf.model.norm(x[None]))[0]
        cap = getattr(self.hf.config, "final_logit_softcapping", None)
        return (logits if cap is None else torch.tanh(logits / cap) * cap).log_softmax(-1)


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, store: str) -> dict[str, Any]:
    """The stage run on a tiny model, all its neurons followed, and every step's numbers in plain loops."""
    place = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("MLFLOW_TRACKING_URI", store)
        shape = families.Shape(layers=2, d_mlp=8)
        model = str(families.save(request.param, place / "tiny", shape))
        items = made.items("tiny", families.tiny_tokenizer(), variant="cot")
        options = {"model": model, "items": made.save(items, place / "items.parquet"), "batch_size": 3, "top": 32}
        folder = attribute(_options(**options))
    hf: Any = families.tiny_model(request.param, shape)
    lines: list[dict[str, Any]] = []
    with torch.no_grad():
        for chains in finished(items, Subject(actkit.load(hf, tokenizer=families.tiny_tokenizer()), "tiny"), 1):
            (row,) = chains.rows
            plain = Plain(hf, chains.batch.ids[0])
            for at, token, kind in zip(
                chains.places[1].tolist(), *chains.steps.select("token_id", "kind"), strict=True
            ):
                for layer in range(2):
                    for neuron in range(8):
                        lines.append(
                            {
                                "row": row, "right": made.RIGHT[row], "kind": kind, "layer": layer, "neuron": neuron,
                                "polarity": "+" if plain.m[layer][at, neuron] > 0 else "-",
                                "logit": plain.logit(layer, at, neuron, token),
                                "logp": plain.logp(layer, at, neuron, token),
                            }
                        )  # fmt: skip
    return {"folder": folder, "options": options, "steps": pl.DataFrame(lines), "items": items, "place": place}


def test_means_are_those_of_plain_hooks(done: dict[str, Any]):
    found, steps = _table(done["folder"], "attributions"), done["steps"]
    groups = {"right": steps.filter("right"), "wrong": steps.filter(~pl.col("right")), "all": steps}
    assert set(found["group"].unique()) == set(groups)
    largest = float(found["logit"].abs().max())  # pyright: ignore[reportArgumentType]
    told = 0
    for line in found.iter_rows(named=True):
        of_kind = groups[line["group"]].filter(kind=line["kind"], layer=line["layer"], neuron=line["neuron"])
        own = of_kind.filter(polarity=line["polarity"])
        assert line["steps"] == len(of_kind)
        assert line["logit"] == pytest.approx(own["logit"].sum() / len(of_kind), rel=1e-3, abs=1e-5 * largest)
        if line["logp"] is not None:
            told += 1
            assert line["logp"] == pytest.approx(own["logp"].sum() / len(of_kind), rel=1e-3, abs=2e-5)
    assert told > len(found) / 3
    # Every neuron that ever fires with a sign is followed, so that nothing is left out above.
    assert len(found.select("layer", "neuron", "polarity").unique()) == len(
        steps.select("layer", "neuron", "polarity").unique()
    )


@pytest.mark.parametrize("done", ["llama"], indirect=True)
def test_strongest_by_absolute_mean_are_followed(done: dict[str, Any]):
    """With one neuron per kind, it is the one that plain loops rank first."""
    with pytest.MonkeyPatch.context() as patch:
        made.draw_nothing(patch)
        patch.chdir(done["place"])
        found = _table(attribute(_options(**{**done["options"], "top": 1})), "attributions")
    for kind in done["steps"]["kind"].unique():
        sums = done["steps"].filter(kind=kind).group_by("layer", "neuron", "polarity").agg(pl.sum("logit"))
        best = sums.sort(pl.col("logit").abs(), descending=True).row(0)[:3]
        told = found.filter(pl.col("logp").is_not_null(), kind=kind, group="all")
        assert told.select("layer", "neuron", "polarity").rows() == [best]


def test_contrasts_are_differences_of_means_per_step(done: dict[str, Any]):
    contrasts, means = _table(done["folder"], "contrasts"), _table(done["folder"], "attributions")
    key = ["layer", "neuron", "polarity", "kind"]
    both = means.filter(group="right").join(means.filter(group="wrong"), on=key, suffix="_wrong")
    assert set(contrasts["contrast"]) == {"right - wrong"}
    assert len(contrasts)
    for line in contrasts.join(both, on=key).iter_rows(named=True):
        assert line["difference"] == pytest.approx(line["logit"] - line["logit_wrong"])
        assert line["low"] is None  # two right and two wrong items tell nothing about others
    assert len(contrasts.join(both, on=key)) == len(contrasts)


@pytest.mark.usefixtures("drawn")
def test_the_same_chains_answered_twice_differ_by_nothing(workplace: Path):
    """Items are pairs: with each item's answers alike, the difference is 0 in every draw. Unlike ones have a width."""
    model, tokenizer = str(families.save("llama", workplace / "tiny")), families.tiny_tokenizer()
    many = {"prompts": made.PROMPTS * 3, "chains": made.CHAINS * 3, "right": [i % 2 == 0 for i in range(12)]}
    cot = made.items("tiny", tokenizer, variant="cot", **many)
    runs = {
        "same": made.items("tiny", tokenizer, variant="answer_only", **many),
        "other": made.items("tiny", tokenizer, variant="answer_only", **{**many, "chains": made.CHAINS[:1] * 12}),
    }
    items = made.save(cot, workplace / "cot.parquet")
    found = {
        name: _table(attribute(_options(model=model, items=items, against=made.save(run, workplace / f"{name}.parquet"),
                                        top=5)), "contrasts").filter(contrast="cot - answer_only")
        for name, run in runs.items()
    }  # fmt: skip
    assert set(found["same"]["kind"]) == {"answer"}
    assert found["same"]["items"].unique().to_list() == [9]  # three of four chains state an answer
    for name in ("difference", "low", "high"):
        assert found["same"][name].abs().max() == 0
    assert (found["other"]["high"] - found["other"]["low"]).min() > 0  # pyright: ignore[reportOptionalOperand, reportOperatorIssue]


def test_planted_neurons_are_given_what_they_were_built_to_write(workplace: Path):
    """The plant on " =" votes 2.5 for " 5", which is written there; the one on "2" votes 1 for " apples"."""
    model = str(planted.save(workplace / "planted"))
    question = "Ann has 2 apples and gets 3 more. How many apples are there?"
    (workplace / "one.jsonl").write_text(f'{{"question": "{question}", "answer": "#### 5"}}\n')
    items = infer(InferOptions.model_validate({"model": model, "data": "one.jsonl"}))
    found = _table(attribute(_options(model=model, items=str(items))), "attributions").filter(group="all")
    given = {(*row[:3], row[3]): row[4:] for row in
             found.select("layer", "neuron", "polarity", "kind", "logit", "steps").rows()}  # fmt: skip
    assert given[1, 5, "+", "result"] == (pytest.approx(2.5, rel=1e-3), 1)
    logit, texts = given[3, 7, "+", "text"]
    assert logit * texts == pytest.approx(1.0, rel=1e-3)
    assert {key for key in given if key[:2] == (0, 3)} == set()  # it votes for words that are never written
    logp = found.filter(layer=1, neuron=5, polarity="+", kind="result")["logp"].item()
    # The story votes 8 for " 5" and nothing else votes at all: p = e^8 / (e^8 + V - 1) before, with e^10.5 after,
    # less what the plant gives its other word.
    size = len(planted.tokenizer())
    before = 8 - math.log(math.exp(8) + size - 1)
    after = 10.5 - math.log(math.exp(10.5) + math.exp(2.25) + size - 2)
    assert logp == pytest.approx(after - before, rel=0.01)


def test_half_precision_is_read_in_full():
    """Shares in bfloat16 are those of its own weights in float32, as far as its activations can tell."""
    hf: Any = families.tiny_model("llama").bfloat16()
    shares: list[Tensor] = []
    for dtype in (torch.bfloat16, torch.float32):
        subject = Subject(actkit.load(hf.to(dtype), tokenizer=families.tiny_tokenizer()), "tiny")
        _, layers = _shown(subject, made.items("tiny", families.tiny_tokenizer()))
        values = [subject.model.value_vectors(layer.number).float() for layer in layers]
        found = [layer.m * (layer.direction @ v.T) for layer, v in zip(layers, values, strict=True)]
        shares.append(torch.stack(found).detach())
    assert shares[0].dtype == torch.float32
    assert (shares[0] - shares[1]).abs().max() < 0.05 * shares[1].abs().max()


def test_nothing_of_the_model_changes(monkeypatch: pytest.MonkeyPatch):
    """Logits before and after are the same, bit for bit, and no hook is left."""
    subject, items = _subject("gemma2")
    ids = torch.tensor([items["prompt_ids"][0].to_list()])
    with torch.no_grad():
        before = subject.model.hf(ids).logits
        _shown(subject, items)
        assert torch.equal(subject.model.hf(ids).logits, before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in subject.model.hf.modules())


@pytest.mark.parametrize("size", [1, 2, 50])
def test_chunks_of_the_vocabulary_change_nothing(size: int):
    subject, items = _subject("llama")
    (chains,) = finished(items, subject, 9)
    readout = Readout(subject.model)
    streams = chains.written(subject.model.run(chains.batch, capture="resid_post.2", logits=None)["resid_post.2"])
    ids = torch.tensor(chains.steps["token_id"].to_list())
    whole = readout.logp(streams, ids), readout.rows(ids)
    readout._width = size
    torch.testing.assert_close((readout.logp(streams, ids), readout.rows(ids)), whole)
    plain = subject.model.hf.lm_head(subject.model.hf.model.norm(streams)).log_softmax(-1)
    torch.testing.assert_close(whole[0], plain.gather(-1, ids[:, None])[:, 0].detach())


@pytest.mark.parametrize(
    ("family", "words"),
    [("mixtral", "experts, which attribute does not look at"), ("opt-postnorm", "not added to the stream")],
)
def test_models_it_cannot_take_apart_are_refused(workplace: Path, family: str, words: str):
    model = str(families.save(family, workplace / "tiny"))
    items = made.save(made.items("tiny", families.tiny_tokenizer()), workplace / "items.parquet")
    with pytest.raises(Exception, match=words) as told:
        attribute(_options(model=model, items=items))
    assert type(told.value).__name__ == "UsageError"


def test_mistakes_about_the_other_run_are_told(workplace: Path):
    model = str(families.save("llama", workplace / "tiny"))
    first = made.items("tiny", families.tiny_tokenizer(), variant="cot")
    items = made.save(first, workplace / "items.parquet")
    moved = made.save(first.with_columns(gold=pl.lit("7"), variant=pl.lit("none")), workplace / "moved.parquet")
    stranger = made.save(first.with_columns(model=pl.lit("big"), variant=pl.lit("none")), workplace / "big.parquet")
    for against, words in ((items, ["'cot' too"]), (moved, ["moved.parquet", "row 0 is another problem"]),
                           (stranger, ["--against", "big.parquet", "'big'"])):  # fmt: skip
        with pytest.raises(Exception, match="--against") as told:
            attribute(_options(model=model, items=items, against=against))
        for word in words:
            assert word in str(told.value)


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    model = str(families.save("llama", workplace / "tiny"))
    items = made.save(made.items("tiny", families.tiny_tokenizer(), variant="cot"), workplace / "items.parquet")
    given = {"model": model, "items": items, "top": 3, "batch_size": 1}
    made.draw_nothing(monkeypatch)
    whole = attribute(_options(**given, out="whole"))
    made_so_far: list[int] = []
    write = Shares.table

    def dies(self: Shares) -> pl.DataFrame:
        if len(made_so_far) == 2:
            raise KeyboardInterrupt
        made_so_far.append(1)
        return write(self)

    monkeypatch.setattr(shares.Shares, "table", dies)
    with pytest.raises(KeyboardInterrupt):
        attribute(_options(**given, out="killed"))
    again: list[int] = []
    monkeypatch.setattr(shares.Shares, "table", lambda self: again.append(1) or write(self))
    monkeypatch.setattr("cot_neurons.attributions.sums.Sums.add", None)  # the first pass is done, and not done again
    folder = attribute(_options(**given, out="killed"))
    assert len(again) == 2
    for name in ("attributions", "contrasts"):
        assert (folder / "tables" / f"{name}.parquet").read_bytes() == (
            whole / "tables" / f"{name}.parquet"
        ).read_bytes()


def test_a_model_whose_neurons_are_all_dead_is_told(workplace: Path):
    model = str(planted.save(workplace / "dead", plants=()))
    run = made.items("dead", planted.tokenizer(()), prompts=[planted.PROMPT], chains=[planted.CHAIN], right=[True])
    with pytest.raises(Exception, match="no neuron of this model wrote anything"):
        attribute(_options(model=model, items=made.save(run, workplace / "items.parquet")))


def test_poles_are_chosen_per_kind():
    chosen = pl.DataFrame(
        {"layer": [1, 0, 1], "neuron": [5, 2, 5], "polarity": ["-", "+", "-"], "kind": ["+", "answer", "text"]}
    )
    poles = Poles.of(chosen)
    assert poles.table.rows() == [(0, 2, "+"), (1, 5, "-")]
    assert [[KINDS[i] for i in np.flatnonzero(row)] for row in poles.kinds] == [["answer"], ["text", "+"]]
