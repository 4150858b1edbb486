"""A whole harvest against plain Hugging Face forwards and NumPy, and what can be read from the store afterwards."""

import accelerate
import actkit
import datasets
import numpy as np
import polars as pl
import pytest
import torch
from actkit import Histogram, Keep, Sparse, TopK
from specimens import families

SITES = ["mlp_post.*", "attn_z.1", "resid_post.0"]
EVERY = [Keep(), "mean", "moments", Histogram.uniform(-2, 2, 16), TopK(6, "both"), Sparse(threshold=1.0, density=1)]
SMALL = {"batch_size": 7, "shard_tokens": 150, "quiet": True}


@pytest.fixture(scope="module")
def store(llama, rows, tmp_path_factory) -> actkit.Store:
    return actkit.harvest(llama, rows, SITES, reduce=EVERY, store=tmp_path_factory.mktemp("store") / "s", **SMALL)


def _flat(x: torch.Tensor) -> np.ndarray:
    return x.flatten(1).numpy()


def test_kept_activations_are_hugging_face_s(store, plain, places):
    assert len(store.corpus.index.shards) > 4
    for site, truth in plain.items():
        if site in store.sites:
            kept = store[site, "keep"]
            np.testing.assert_allclose(_flat(kept["values"]), truth, atol=1e-5)
            np.testing.assert_array_equal(kept["rows"].numpy(), places[:, 0])
            np.testing.assert_array_equal(kept["positions"].numpy(), places[:, 1])
    assert store["attn_z.1", "keep"]["values"].shape[1:] == (4, 8)


@pytest.mark.parametrize("site", ["mlp_post.0", "mlp_post.2", "attn_z.1", "resid_post.0"])
def test_summaries_are_numpy_s(store, plain, site):
    truth = plain[site].astype(np.float64)
    moments, mean, histogram = (store[site, name] for name in ("moments", "mean", "histogram"))
    assert int(moments["count"]) == int(mean["count"]) == len(truth)
    np.testing.assert_allclose(moments["mean"].flatten().numpy(), truth.mean(0), atol=1e-6)
    np.testing.assert_allclose(mean["mean"].flatten().numpy(), truth.mean(0), atol=1e-6)
    np.testing.assert_allclose(moments["variance"].flatten().numpy(), truth.var(0), rtol=1e-5)
    np.testing.assert_allclose(moments["min"].flatten().numpy(), truth.min(0), atol=1e-5)
    np.testing.assert_allclose(moments["max"].flatten().numpy(), truth.max(0), atol=1e-5)
    kept = _flat(store[site, "keep"]["values"])
    edges = np.concatenate([[-np.inf], np.linspace(-2, 2, 17), [np.inf]])
    counts = histogram["counts"].reshape(-1, 18).numpy()
    for unit in range(truth.shape[1]):
        np.testing.assert_array_equal(counts[unit], np.histogram(kept[:, unit].astype(np.float64), edges)[0])


@pytest.mark.parametrize("site", ["mlp_post.1", "attn_z.1"])
def test_the_strongest_tokens_are_those_of_plain_forwards(store, plain, places, site):
    found = store[site, "topk"]
    for pole, sign in enumerate((1, -1)):
        order = np.argsort(-sign * plain[site], axis=0, kind="stable")[:6].T
        np.testing.assert_array_equal(found["rows"][pole].reshape(-1, 6).numpy(), places[order][..., 0])
        np.testing.assert_array_equal(found["positions"][pole].reshape(-1, 6).numpy(), places[order][..., 1])
        truth = np.take_along_axis(plain[site].T, order, 1)
        np.testing.assert_allclose(found["values"][pole].reshape(-1, 6).numpy(), truth, atol=1e-5)


def test_sparse_entries_are_those_of_the_kept_activations(store, places):
    kept = _flat(store["mlp_post.1", "keep"]["values"])
    tokens, units = np.nonzero(np.abs(kept) > 1.0)
    found = store["mlp_post.1", "sparse"]
    assert len(units) > 20
    np.testing.assert_array_equal(found["units"].numpy(), units)
    np.testing.assert_array_equal(found["rows"].numpy(), places[tokens][:, 0])
    np.testing.assert_array_equal(found["positions"].numpy(), places[tokens][:, 1])
    np.testing.assert_array_equal(found["values"].numpy(), kept[tokens, units])


@pytest.mark.parametrize("sizes", [(1, 1 << 20), (64, 150), (5, 90)])
def test_batches_and_shards_change_nothing_but_rounding(store, llama, rows, tmp_path, sizes):
    other = actkit.harvest(
        llama, rows, SITES, reduce=EVERY, store=tmp_path, batch_size=sizes[0], shard_tokens=sizes[1], quiet=True
    )
    for site in store.sites:
        for reducer in ("topk", "keep", "moments"):
            for name, x in store[site, reducer].items():
                if x.is_floating_point():
                    torch.testing.assert_close(other[site, reducer][name], x, atol=1e-5, rtol=1e-5)
                else:
                    assert torch.equal(other[site, reducer][name], x), (site, reducer, name)


def test_a_store_of_the_rows_in_another_order_finds_the_same_tokens(store, llama, rows, tmp_path):
    order = list(np.random.default_rng(0).permutation(len(rows)))
    other = actkit.harvest(
        llama, [rows[i] for i in order], "mlp_post.1", reduce=[TopK(6, "both")], store=tmp_path, **SMALL
    )["mlp_post.1"]
    assert torch.equal(torch.tensor(order)[other["rows"]], store["mlp_post.1", "topk"]["rows"])
    assert torch.equal(other["positions"], store["mlp_post.1", "topk"]["positions"])


def test_whatever_the_rows_come_as_the_store_is_the_same(llama, rows, tmp_path, content):
    rows = [row[:5] for row in rows if len(row) >= 5]
    batches = [actkit.pad_rows(rows[i : i + 4], pad_id=0) for i in range(0, len(rows), 4)]
    column = datasets.Dataset.from_dict({"ids": rows})["ids"]
    kinds = {"lists": rows, "batches": batches, "column": column, "generator": (r for r in rows)}
    kinds |= {"arrays": [np.array(row) for row in rows], "tensor": torch.tensor(rows), "batch": llama.encode(rows)}
    for kind, data in kinds.items():
        actkit.harvest(llama, data, "mlp_post.1", reduce=["topk", "mean"], store=tmp_path / kind, **SMALL)
    first = content(tmp_path / "lists")
    assert all(content(tmp_path / kind) == first for kind in kinds)


def test_texts_are_tokenized_as_encode_does(llama, tmp_path):
    texts = [f"Tom has {n} pens." for n in range(20)]
    store = actkit.harvest(llama, (t for t in texts), "embed", reduce="mean", store=tmp_path, **SMALL)
    assert store.rows(range(20)) == llama.encode(texts).ids


def test_an_offloaded_model_makes_the_same_store(llama, rows, tmp_path, content):
    hf = families.tiny_model("llama")
    accelerate.cpu_offload(hf, execution_device=torch.device("cpu"))
    for name, model in (("whole", llama), ("offloaded", actkit.load(hf))):
        actkit.harvest(model, rows, "mlp_post.*", reduce=["topk", "moments"], store=tmp_path / name, **SMALL)
    assert content(tmp_path / "whole") == content(tmp_path / "offloaded")


def test_a_model_in_bfloat16_keeps_bfloat16_and_sums_wide(rows, tmp_path):
    model = actkit.load(families.tiny_model("gpt2", dtype=torch.bfloat16))
    store = actkit.harvest(model, rows, "mlp_post.1", reduce=["keep", "mean", "topk"], store=tmp_path, **SMALL)
    kept = store["mlp_post.1", "keep"]["values"]
    assert kept.dtype == torch.bfloat16
    torch.testing.assert_close(store["mlp_post.1", "mean"]["mean"], kept.double().mean(0), rtol=1e-12, atol=1e-15)
    order = np.argsort(-kept.float().numpy(), axis=0, kind="stable")[:20].T
    assert torch.equal(store["mlp_post.1", "topk"]["values"], kept.float().T.gather(1, torch.tensor(order)))
    assert torch.equal(store["mlp_post.1", "topk"]["rows"], store["mlp_post.1", "keep"]["rows"][torch.tensor(order)])


@pytest.mark.parametrize(("family", "site"), [("mixtral", "mlp_post.1"), ("llama", "attn_k.2"), ("opt", "resid_mid.0")])
def test_units_keep_the_shape_of_their_site(family, site, rows, tmp_path):
    """Experts and heads: [units...] as a capture has them, reduced over tokens."""
    model = actkit.load(families.tiny_model(family))
    found = actkit.harvest(model, rows[:9], site, reduce=["moments", TopK(3, "-")], store=tmp_path, **SMALL)
    alone = [model.run(model.encode([row]), capture=site, logits=None)[site][0] for row in rows[:9]]
    truth = torch.cat(alone).numpy()
    np.testing.assert_allclose(found[site, "moments"]["mean"].numpy(), truth.astype(np.float64).mean(0), atol=1e-5)
    np.testing.assert_allclose(found[site, "moments"]["max"].numpy(), truth.max(0), atol=1e-5)
    lowest = np.moveaxis(np.sort(truth, axis=0)[:3], 0, -1)
    np.testing.assert_allclose(found[site, "topk"]["values"].numpy(), lowest, atol=1e-5)
    per_unit = found.table(site, "topk").group_by("unit").len()
    assert per_unit.height == truth[0].size
    assert per_unit["len"].unique().to_list() == [3]


def test_logits_can_be_harvested(llama, rows, tmp_path):
    store = actkit.harvest(llama, rows[:4], "logits", reduce=TopK(1), store=tmp_path, **SMALL)
    with torch.no_grad():
        truth = torch.cat([llama.hf(torch.tensor([row])).logits[0] for row in rows[:4]])
    torch.testing.assert_close(store["logits"]["values"][:, 0], truth.amax(0), atol=1e-5, rtol=0)


def test_rows_are_cut_at_max_tokens(llama, rows, tmp_path):
    store = actkit.harvest(llama, rows, "embed", reduce="mean", store=tmp_path, max_tokens=3, **SMALL)
    assert store.rows(range(len(rows))) == [row[:3] for row in rows]
    assert int(store["embed"]["count"]) == sum(min(3, len(row)) for row in rows)


def test_tables_are_long_and_complete(store):
    top = store.table("attn_z.1", "topk")
    assert top.columns == ["pole", "unit", "rank", "value", "row", "position"]
    found = store["attn_z.1", "topk"]
    cell = top.filter(pl.col("unit") == 8 * 2 + 3, pl.col("pole") == "-").sort("rank")
    np.testing.assert_array_equal(cell["value"].to_numpy(), found["values"][1, 2, 3].numpy())
    np.testing.assert_array_equal(cell["row"].to_numpy(), found["rows"][1, 2, 3].numpy())
    moments = store.table("attn_z.1", "moments")
    np.testing.assert_array_equal(moments["variance"].to_numpy(), store["attn_z.1", "moments"]["variance"].flatten())
    histogram = store.table("mlp_post.0", "histogram")
    per_unit = histogram.group_by("unit").agg(pl.col("count").sum())["count"]
    assert per_unit.unique().to_list() == [store.corpus.index.tokens]
    sparse = store.table("mlp_post.0", "sparse")
    assert sparse.height == len(store["mlp_post.0", "sparse"]["values"])


def test_exemplars_show_the_token_between_its_neighbours(store, llama, rows):
    shown = store.exemplars("mlp_post.1", 5, tokenizer=llama.tokenizer, before=3, after=2)
    assert shown.height == 12
    for line in shown.iter_rows(named=True):
        row, at = rows[line["row"]], line["position"]
        assert [*line["before"], line["token_id"], *line["after"]] == row[max(0, at - 3) : at + 3]
        assert f"⟦{llama.tokenizer.decode([row[at]])}⟧" in line["text"]


def test_a_store_says_what_it_is(store):
    told = repr(store)
    for part in (f"{store.corpus.index.tokens:,} tokens", "50 rows", "Llama", "k=6", "4 x 8", "mlp_post: 3 site(s)"):
        assert part in told


def test_asking_a_store_for_what_it_has_not_names_what_it_has(store):
    with pytest.raises(actkit.UnknownSite, match=r"mlp_post\.9.*Nearest: mlp_post"):
        store["mlp_post.9", "topk"]
    with pytest.raises(actkit.StoreError, match="results of histogram, keep"):
        store["mlp_post.0"]
    with pytest.raises(actkit.StoreError, match="'median' is not among"):
        store["mlp_post.0", "median"]
    with pytest.raises(actkit.StoreError, match="no table"):
        store.table("mlp_post.0", "keep")
    with pytest.raises(actkit.StoreError, match="rows 0 to 49"):
        store.rows([50])
    with pytest.raises(actkit.UnknownSite, match="0 to 47"):
        store.exemplars("mlp_post.0", 48)
