"""Wrong requests are errors that say what is wrong; nothing asked for is silently left undone."""

import json

import actkit
import numpy as np
import pytest
import torch
from actkit import Where
from specimens import families
from torch import nn
from transformers import AutoConfig, AutoModel

ROWS = [[5, 6], [7, 8, 9, 10]]


@pytest.mark.parametrize(
    "mask", [[i == 3 for i in range(48)], torch.arange(48) == 3, np.arange(48) == 3], ids=["list", "torch", "numpy"]
)
def test_a_mask_stands_for_where_it_is_true(tiny, mask):
    batch = tiny.encode(ROWS)
    ours, plain = (
        tiny.run(batch, edits=[actkit.zero("mlp_post.1", Where(units=units))]).logits for units in (mask, [3])
    )
    assert torch.equal(ours, plain)
    assert not torch.equal(ours, tiny.run(batch).logits)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"units": True}, r"units=\.\.\.\) takes whole numbers, not True"),
        ({"units": 1.5}, "takes whole numbers, not 1.5"),
        ({"units": "3"}, "takes whole numbers, not '3'"),
        ({"units": slice(0, 3)}, "takes whole numbers"),
        ({"units": []}, "names nothing"),
        ({"heads": torch.zeros(4, dtype=torch.bool)}, "names nothing"),
    ],
)
def test_what_is_no_index_is_refused(where, said):
    with pytest.raises(actkit.EditError, match=said):
        actkit.zero("attn_z.1", Where(**where))


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (Where(rows=[0, 7]), "row 7: the batch has rows 0 to 1"),
        (Where(rows=-1), "row -1"),
        (Where(pos=[1, 800]), "position 800: the longest of its rows has 4 tokens"),
        (Where(rows=0, pos=2), "position 2: the longest of its rows has 2 tokens"),
        (Where(pos=-5), "position -5"),
    ],
)
def test_an_edit_of_places_the_batch_does_not_have_is_refused(tiny, where, said):
    with pytest.raises(actkit.EditError, match=said):
        tiny.run(tiny.encode(ROWS), edits=[actkit.zero("mlp_out.1", where)])


def test_units_of_a_pattern_do_not_count_from_an_end_that_differs_between_rows(tiny):
    with pytest.raises(actkit.EditError, match="key tokens counted from 0"):
        tiny.run(tiny.encode(ROWS), edits=[actkit.zero("attn_pattern.1", Where(units=-1))])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: actkit.zero("embed", {"pos": 1}), "must be a Where"),
        (lambda: actkit.noise("embed", -1.0), "0 or more"),
        (lambda: actkit.scale("embed", torch.ones(3)), "must be one number"),
        (lambda: actkit.set_("embed", "much"), "must be numbers"),
    ],
)
def test_edits_of_nonsense_are_refused_when_made(make, said):
    with pytest.raises(actkit.EditError, match=said):
        make()


@pytest.mark.parametrize("f", [lambda x: None, lambda x: x[:1], lambda x: x.sum()])
def test_a_function_must_give_back_what_it_was_given(tiny, f):
    with pytest.raises(actkit.EditError, match=r"must give a tensor of shape \[6, 32\]"):
        tiny.run(tiny.encode(ROWS), edits=[actkit.fn("resid_post.1", f)])


def test_a_function_may_compute_in_another_dtype():
    model = actkit.load(families.tiny_model("llama", dtype=torch.bfloat16))
    batch = model.encode(ROWS)
    run = model.run(batch, capture="resid_post.1", edits=[actkit.fn("resid_post.1", lambda x: x.float() * 0 + 2.5)])
    assert (run["resid_post.1"][batch.attention_mask.bool()] == 2.5).all()


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda m, b: m.run(b, edits=["mlp_post.1"]), "'mlp_post.1' is not an edit"),
        (lambda m, b: m.run(b, capture=3), "Sites are names or globs, not 3"),
        (lambda m, b: m.run(b, capture=["embed", None]), "not None"),
        (lambda m, b: m.run("Once upon"), "A Batch is needed, not str"),
        (lambda m, b: m.generate(["Once"], max_new_tokens=1), "A Batch is needed, not list"),
        (lambda m, b: m.generate(b, max_new_tokens=1, temperature=-1), "temperature must be 0"),
        (lambda m, b: m.run(b, capture="embed")["embde"], "did not capture 'embde'; it has embed"),
        (lambda m, b: m.encode(ROWS, pad="middle"), "pad must be 'left' or 'right'"),
        (lambda m, b: m.encode([[1.9, 2.2]]), "row 0 is neither text nor a list of token ids"),
        (lambda m, b: m.encode([[1, 2], "x"]), "row 1 is neither"),
        (lambda m, b: m.encode([[1], [True]]), "row 1 is neither"),
        (lambda m, b: m.encode([b"abc"]), "row 0 is neither"),
        (lambda m, b: m.encode(["Ann", 5]), "row 1 is not text"),
    ],
)
def test_wrong_requests_are_refused(tiny, ask, said):
    with pytest.raises(actkit.ActkitError, match=said):
        ask(tiny, tiny.encode(ROWS))


def test_a_single_edit_needs_no_list(tiny):
    batch = tiny.encode(ROWS)
    edit = actkit.zero("mlp_out.1")
    assert torch.equal(tiny.run(batch, edits=edit).logits, tiny.run(batch, edits=[edit]).logits)


@pytest.mark.parametrize("thing", [None, nn.Linear(2, 2), 3], ids=str)
def test_what_is_no_model_is_refused(thing):
    with pytest.raises(actkit.LoadError, match=f"not {type(thing).__name__}"):
        actkit.load(thing)


def test_a_model_without_a_head_is_refused():
    with pytest.raises(actkit.LoadError, match="LlamaModel has no language-model head"):
        actkit.load(AutoModel.from_config(families.tiny_model("llama").config))


def test_folders_of_other_things_are_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "my_llama"}))
    with pytest.raises(actkit.LoadError, match="my_llama"):
        actkit.load(tmp_path)
    AutoConfig.for_model("t5").save_pretrained(tmp_path)
    with pytest.raises(actkit.LoadError, match="Cannot load a model") as error:
        actkit.load(tmp_path)
    assert len(str(error.value)) < 600


def test_damaged_tokenizers_and_integer_dtypes_are_refused(tmp_path):
    families.save("llama", tmp_path)
    with pytest.raises(actkit.LoadError, match="Unknown dtype 'int8'"):
        actkit.load(tmp_path, dtype="int8")
    (tmp_path / "tokenizer.json").write_text("xx")
    with pytest.raises(actkit.LoadError, match="Cannot load a tokenizer"):
        actkit.load(tmp_path)


def test_patterns_can_be_edited_in_half_precision():
    """In bfloat16 what a pattern mixes and what attention gives differ, but by rounding alone."""
    for seed in range(4):
        model = actkit.load(families.tiny_model("llama", dtype=torch.bfloat16, seed=seed))
        batch = model.encode([list(range(5, 60)), [7, 8, 9]])
        for layer in range(3):
            model.run(batch, edits=[actkit.scale(f"attn_pattern.{layer}", 2.0)])


def test_gradients_need_no_global_mode(tiny):
    with torch.no_grad():
        run = tiny.run(tiny.encode(ROWS), capture="resid_post.1", grad=True)
        assert run.grads(actkit.logit(5))["resid_post.1"].any()


def test_a_grids_sites_stand_in_the_order_asked_for(tiny):
    grid = actkit.trace(tiny, [[5, 6, 7]], [[5, 9, 7]], at=["resid_post", "attn_out"], metric="logit", target=4)
    assert grid.sites == ("resid_post", "attn_out")
    alone = actkit.trace(tiny, [[5, 6, 7]], [[5, 9, 7]], at="resid_post", metric="logit", target=4)
    torch.testing.assert_close(grid.values[0], alone.values[0])


def test_a_dollar_sign_in_a_name_is_drawn_as_it_is(tiny, tmp_path):
    options = {"at": "resid_post", "metric": "logit", "target": 4, "positions": {"price $\\frac$ x": 1, "b": 2}}
    axes = actkit.trace(tiny, [[5, 6, 7]], [[5, 9, 7]], **options).plot()
    axes.figure.savefig(tmp_path / "grid.png")
    assert (tmp_path / "grid.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reduce": actkit.TopK}, "No reducer <class"),
        ({"memory_limit": "1GB"}, "memory_limit must be at least 1, and whole, not '1GB'"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_wrong_harvests_are_refused_before_anything_is_written(tiny, tmp_path, options, said):
    with pytest.raises(actkit.HarvestError, match=said):
        actkit.harvest(tiny, ROWS, "mlp_post.1", **{"reduce": "topk", "store": tmp_path / "store", **options})
    assert not (tmp_path / "store").exists()
