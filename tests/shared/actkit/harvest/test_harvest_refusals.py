"""What a harvest refuses, and what it says then; damage is found; running out of memory changes nothing."""

import re

import actkit
import pytest
import torch
import xxhash
from actkit import TopK
from specimens import families

SMALL = {"batch_size": 4, "shard_tokens": 150, "quiet": True}


@pytest.fixture
def made(llama, rows, tmp_path) -> actkit.Store:
    return actkit.harvest(llama, rows, "mlp_post.1", reduce=["keep", "topk"], store=tmp_path / "store", **SMALL)


def _harvest(model, rows, folder, **changes):
    settings = {"reduce": ["keep", "topk"], "at": "mlp_post.1", **SMALL, **changes}
    return actkit.harvest(model, rows, settings.pop("at"), store=folder, **settings)


def test_a_finished_store_is_given_back_without_a_forward_pass(made, llama, rows, monkeypatch, content):
    before = content(made.folder)
    monkeypatch.setattr(llama.hf, "forward", lambda **_: pytest.fail("a forward pass ran"))
    again = _harvest(llama, rows, made.folder, batch_size=9)
    assert content(again.folder) == before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"reduce": ["keep", TopK(7)]}, r"reducers\.topk\.k: 20 in the store, 7 asked for"),
        ({"reduce": ["keep"]}, r"reducers\.topk: .* in the store, None asked for"),
        ({"at": "mlp_post.*"}, "sites: "),
        ({"max_tokens": 5}, "max_tokens: None in the store, 5 asked for"),
        ({"shard_tokens": 99}, "shard_tokens: 150 in the store, 99 asked for"),
    ],
)
def test_other_settings_are_refused_and_named(made, llama, rows, changes, says):
    with pytest.raises(actkit.StoreError, match=says) as error:
        _harvest(llama, rows, made.folder, **changes)
    assert "resume=False" in error.value.hint


def test_another_model_is_refused(made, rows):
    with pytest.raises(actkit.StoreError, match=r"model\.weights") as error:
        _harvest(actkit.load(families.tiny_model("llama", seed=1)), rows, made.folder)
    assert "model.config" not in str(error.value)
    with pytest.raises(actkit.StoreError, match=r"model\.family: Llama in the store, GPT-2 asked for"):
        _harvest(actkit.load(families.tiny_model("gpt2")), rows, made.folder)
    with pytest.raises(actkit.StoreError, match=r"model\.dtype: float32 in the store, float64 asked for"):
        _harvest(actkit.load(families.tiny_model("llama", dtype=torch.float64)), rows, made.folder)
    nudged = families.tiny_model("llama")
    with torch.no_grad():
        nudged.model.layers[2].mlp.down_proj.weight.mul_(1.01)
    with pytest.raises(actkit.StoreError, match=r"model\.weights"):
        _harvest(actkit.load(nudged), rows, made.folder)


@pytest.mark.parametrize("row", [0, 17, 49])
def test_other_data_are_refused_naming_the_first_row_that_differs(made, llama, rows, row):
    other = [list(ids) for ids in rows]
    other[row][-1] = 299 if other[row][-1] != 299 else 298
    with pytest.raises(actkit.StoreError, match=f"row {row} is not the same"):
        _harvest(llama, other, made.folder)


def test_fewer_or_more_rows_are_other_data(made, llama, rows):
    with pytest.raises(actkit.StoreError, match="row 48 is not the same"):
        _harvest(llama, rows[:48], made.folder)
    with pytest.raises(actkit.StoreError, match="row 50 is not the same"):
        _harvest(llama, [*rows, [5]], made.folder)


def test_starting_anew_keeps_what_it_did_not_make(made, llama, rows):
    (made.folder / "notes.md").write_text("mine")
    (made.folder / "tokens.txt").write_text("mine too")
    store = _harvest(llama, rows[:9], made.folder, reduce="mean", resume=False)
    names = {path.name for path in store.folder.iterdir()}
    assert {"notes.md", "tokens.txt"} < names
    tokens = {shard.file for shard in store.corpus.index.shards}
    assert names - {"notes.md", "tokens.txt"} == {*store.manifest["files"], "manifest.json", *tokens}


@pytest.mark.parametrize("resume", [True, False])
def test_a_folder_of_something_else_is_left_alone(llama, rows, tmp_path, resume, content):
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "manifest.json").write_text('{"kind": "another program"}')
    before = content(tmp_path)
    with pytest.raises(actkit.StoreError, match=r"holds something else \(manifest\.json, thesis\.tex\)"):
        _harvest(llama, rows, tmp_path, resume=resume)
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["mlp_post.1.keep-00001.safetensors", "result-mlp_post.1.safetensors", "tokens-00002.safetensors"]
)
def test_one_flipped_byte_is_found_and_named(made, llama, rows, name):
    path = made.folder / name
    bytes_ = bytearray(path.read_bytes())
    expected = xxhash.xxh3_128_hexdigest(bytes(bytes_))
    bytes_[len(bytes_) // 2] ^= 1
    path.write_bytes(bytes_)
    found = xxhash.xxh3_128_hexdigest(bytes(bytes_))
    says = f"{re.escape(str(path))} is damaged.\nexpected xxh3-128: {expected}\nfound: {found}"
    reads = {"keep": lambda s: s["mlp_post.1", "keep"], "result": lambda s: s["mlp_post.1", "topk"]}
    reads["tokens"] = lambda s: s.rows(range(50))
    for read in (next(r for key, r in reads.items() if key in name), actkit.Store.verify):
        with pytest.raises(actkit.StoreError, match=says) as error:
            read(actkit.Store(made.folder))
        assert "resume=False" in error.value.hint
    with pytest.raises(actkit.StoreError, match="is damaged"):
        _harvest(llama, rows, made.folder)
    _harvest(llama, rows, made.folder, resume=False).verify()


def test_a_missing_file_and_a_broken_manifest_are_named(made):
    (made.folder / "result-mlp_post.1.safetensors").unlink()
    with pytest.raises(
        actkit.StoreError, match=r"result-mlp_post\.1\.safetensors is damaged[\s\S]*found: no such file"
    ):
        made["mlp_post.1", "topk"]
    (made.folder / "manifest.json").write_text("{")
    with pytest.raises(actkit.StoreError, match=r"manifest\.json cannot be read"):
        actkit.Store(made.folder)


def test_a_folder_without_manifest_is_no_store(tmp_path):
    with pytest.raises(actkit.StoreError, match="no finished harvest"):
        actkit.Store(tmp_path)


def test_damage_to_an_unfinished_harvest_is_found(llama, rows, tmp_path, monkeypatch):
    _stop_after(llama, monkeypatch, 9)
    with pytest.raises(KeyboardInterrupt):
        _harvest(llama, rows, tmp_path)
    monkeypatch.undo()
    state = next((tmp_path / "in-progress").glob("rank-*.safetensors"))
    state.write_bytes(state.read_bytes()[:-1] + b"!")
    with pytest.raises(actkit.StoreError, match=f"{re.escape(str(state))} is damaged"):
        _harvest(llama, rows, tmp_path)


def _stop_after(model, monkeypatch, passes: int) -> None:
    real, done = model.hf.forward, []

    def forward(**inputs):
        done.append(1)
        if len(done) > passes:
            raise KeyboardInterrupt
        return real(**inputs)

    monkeypatch.setattr(model.hf, "forward", forward)


@pytest.mark.parametrize("reduce", [["keep", "topk", "histogram"], ["moments"]])
def test_running_out_of_memory_halves_the_batch_and_nothing_else(llama, rows, tmp_path, monkeypatch, reduce):
    settings = {"at": "mlp_post.*", "reduce": reduce}
    calm = _harvest(llama, rows, tmp_path / "calm", **settings, batch_size=8)
    real = llama.hf.model.layers[1].forward

    def forward(hidden, *args, **kwargs):
        if len(hidden) > 4:
            raise torch.OutOfMemoryError("no room")
        return real(hidden, *args, **kwargs)

    monkeypatch.setattr(llama.hf.model.layers[1], "forward", forward)
    with pytest.warns(UserWarning, match="going on with 4") as warned:
        tight = _harvest(llama, rows, tmp_path / "tight", **settings, batch_size=8)
    assert len(warned) == 1
    for site in calm.sites:
        for reducer in reduce:
            for name, x in calm[site, reducer].items():
                torch.testing.assert_close(tight[site, reducer][name], x, atol=1e-5, rtol=1e-5)


def test_memory_that_does_not_do_for_one_row_is_an_error(llama, rows, tmp_path, monkeypatch):
    def forward(**inputs):
        if inputs["input_ids"].shape[1] > 2:
            raise torch.OutOfMemoryError("no room")
        return real(**inputs)

    real = llama.hf.forward
    monkeypatch.setattr(llama.hf, "forward", forward)
    with (
        pytest.warns(UserWarning, match="going on with"),
        pytest.raises(actkit.HarvestError, match="one row at a time; the longest has 39 tokens"),
    ):
        _harvest(llama, rows, tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_broken_activations_are_named_by_row_and_site(rows, tmp_path, value):
    hf = families.tiny_model("llama")
    rare = next(token for token in range(3, 300) if sum(row.count(token) for row in rows) == 1)
    row = next(i for i, ids in enumerate(rows) if rare in ids)
    with torch.no_grad():
        hf.model.embed_tokens.weight[rare, 0] = value
    with pytest.raises(
        actkit.HarvestError, match=f"embed is NaN or infinite in row {row} at position {rows[row].index(rare)}"
    ):
        _harvest(actkit.load(hf), rows, tmp_path, at=["embed", "mlp_post.1"], reduce="mean")


def test_padding_may_hold_anything(rows, tmp_path):
    """Slots of padding see no real token; whatever a model makes there is not looked at."""
    hf = families.tiny_model("llama")
    model = actkit.load(hf)
    with torch.no_grad():
        hf.model.embed_tokens.weight[model.pad_id] = float("nan")
    assert not any(model.pad_id in row for row in rows)
    store = _harvest(model, rows, tmp_path, at="embed", reduce=["mean", "topk"])
    ids = torch.tensor([token for row in rows for token in row])
    truth = hf.model.embed_tokens.weight.detach()[ids].double()
    torch.testing.assert_close(store["embed", "mean"]["mean"], truth.mean(0), rtol=1e-12, atol=1e-15)
    assert torch.equal(store["embed", "topk"]["values"], truth.float().sort(0, descending=True).values[:20].T)


@pytest.mark.parametrize(
    ("data", "settings", "says"),
    [
        ([], {}, "The data set is empty"),
        ([[5], [], [6]], {}, "Row 1 of the data is empty"),
        ([[5]] * 300 + [[6, 320]], {}, r"Row 300 of the data has ids outside the vocabulary \(0 to 319\)"),
        ([[5], [7] * 129], {}, "Row 1 has 129 tokens; the model's context is 128"),
        ("one text", {}, "one str, not several rows"),
        ([{"text": "a"}], {}, "Row 0 is of type dict, neither a text nor token ids"),
        ([[5], 6], {}, "Row 1 is of type int"),
        ([[5]], {"at": "mlp_post.7"}, "layers 0 to 2"),
        ([[5]], {"reduce": "topmost"}, "No reducer 'topmost'. Nearest: toprows"),
        ([[5]], {"reduce": ["mean", "mean"]}, "Each reducer once"),
        ([[5]], {"reduce": "sparse"}, "either a threshold or a top"),
        ([[5]], {"batch_size": 0}, "batch_size must be at least 1"),
        ([[5]], {"at": "attn_pattern.0"}, "cannot be harvested"),
    ],
)
def test_what_cannot_be_harvested_is_refused_by_name(llama, tmp_path, data, settings, says):
    with pytest.raises(actkit.ActkitError, match=says) as error:
        _harvest(llama, data, tmp_path / "s", **settings)
    if "Row" in says:
        assert isinstance(error.value, actkit.PromptError)
        assert str(error.value.rows[0]) in says
    assert not (tmp_path / "s" / "manifest.json").exists()


def test_texts_without_a_tokenizer_are_refused(tmp_path):
    with pytest.raises(actkit.NoTokenizer):
        _harvest(actkit.load(families.tiny_model("llama")), ["a text"], tmp_path)


def test_sparse_entries_beyond_the_plan_are_refused(llama, rows, tmp_path):
    with pytest.raises(actkit.HarvestError, match=r"sparse at mlp_post\.1: more entries than the \d+ planned"):
        _harvest(llama, rows, tmp_path, reduce=actkit.Sparse(threshold=0.0))


def test_the_plan_is_told_before_it_starts_and_refused_beyond_the_limit(llama, rows, tmp_path, capsys, monkeypatch):
    plan = actkit.plan_harvest(llama, rows, "mlp_post.*", reduce=TopK(8), batch_size=4, shard_tokens=150)
    states = 3 * 48 * 8 * 8
    assert sum(need.state for need in plan.needs) == states
    assert plan.device["cpu"] > states + plan.captures["cpu"]
    passes = []
    llama_forward = llama.hf.forward
    monkeypatch.setattr(llama.hf, "forward", lambda **inputs: passes.append(inputs) or llama_forward(**inputs))
    settings = {"at": "mlp_post.*", "reduce": TopK(8), "quiet": False}
    with pytest.raises(actkit.HarvestError, match=r"would take .* on cpu; memory_limit is 1 kB"):
        _harvest(llama, rows, tmp_path, **settings, memory_limit=1000)
    assert capsys.readouterr().out.strip() == str(plan)
    assert len(passes) == 1
    assert passes[0]["input_ids"].numel() <= 2, "only the two tokens that tell the sites' sizes went through"
    _harvest(llama, rows, tmp_path, **settings, memory_limit=plan.device["cpu"] + plan.host).verify()


def test_after_a_refused_plan_other_settings_may_follow(llama, rows, tmp_path):
    with pytest.raises(actkit.HarvestError, match="memory_limit"):
        _harvest(llama, rows, tmp_path, memory_limit=1000)
    store = _harvest(llama, rows[:20], tmp_path, reduce=TopK(3), shard_tokens=90)
    store.verify()
    assert len(list(tmp_path.glob("tokens-*"))) == len(store.corpus.index.shards)


def test_no_more_than_two_sites_activations_live_at_once(llama, rows, tmp_path, monkeypatch):
    """Which is what the plan counts as alive."""
    run, storages, alive = llama.run, [], []

    def watched(batch, *, on_capture, **options):
        def see(site, x):
            storages.append(x.untyped_storage()._weak_ref())
            on_capture(site, x)
            alive.append(sum(not torch.UntypedStorage._expired(storage) for storage in storages))

        return run(batch, on_capture=see, **options)

    monkeypatch.setattr(llama, "run", watched)
    _harvest(llama, rows, tmp_path, at=["mlp_post.*", "attn_z.*", "mlp_out.*"], reduce=["topk", "moments", "keep"])
    assert len(alive) > 100
    assert max(alive) <= 2


def test_the_plan_knows_the_bytes_on_disk(made, llama, rows):
    plan = actkit.plan_harvest(llama, rows, "mlp_post.1", reduce=["keep", "topk"], batch_size=4, shard_tokens=150)
    real = sum(path.stat().st_size for path in made.folder.glob("*.safetensors"))
    headers = 1000 * len(list(made.folder.glob("*.safetensors")))
    assert plan.disk <= real <= plan.disk + headers
