"""What is worked out from a model's tree and one forward is what the table says, and what is not known is left out."""

import dataclasses
import re
import warnings
from pathlib import Path

import actkit
import pytest
import torch
from actkit import families as rows
from actkit.families import find
from actkit.probing import probe
from specimens import families
from torch import nn
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM

PAGE = Path(__file__).resolve().parents[3] / "docs" / "adding-a-model.md"
LIKE_THE_TABLE = [
    "llama", "gemma2", "olmo2", "gpt2", "gpt_neo", "opt", "cohere", "phi", "gptj", "gpt_neox", "falcon", "bloom", "mpt",
    "mixtral", "qwen2_moe", "llama4_text", "lfm2", "jamba", "qwen3_next", "gpt_bigcode", "granite", "nanochat",
]  # fmt: skip


@pytest.mark.parametrize("name", LIKE_THE_TABLE)
def test_the_probe_finds_the_sites_of_the_table(name):
    hf = families.tiny_model(name)
    frozen, probed = find(hf.config), probe(hf).family
    blocks = list(hf.get_submodule(frozen.blocks).children())
    assert (probed.blocks, probed.final_norm, probed.norm_offset) == (
        frozen.blocks,
        frozen.final_norm,
        frozen.norm_offset,
    )
    assert hf.get_submodule(probed.embed) is hf.get_submodule(frozen.embed)
    for block in blocks:
        expected, found = frozen.taps(block), probed.taps(block)
        for kind in expected.keys() - {"shared_post"}:
            assert _same_place(block, found[kind], expected[kind]), kind


def _same_place(block, a, b):
    """The same module; or for what the MLP writes, its last projection or the whole, which give the same."""
    nested = a.path.startswith(b.path) or b.path.startswith(a.path)
    return a.side == b.side and a.clone == b.clone and (a.path == b.path or (a.side == "output" and nested))


def _unlisted(model_type, **fields):
    """A model of an architecture the installed transformers has and the table has not."""
    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
    if model_type not in CONFIG_MAPPING:
        pytest.skip(f"the installed transformers has no {model_type}")
    config = AutoConfig.for_model(model_type, vocab_size=320, intermediate_size=48, **sizes, **fields)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


def test_a_model_whose_tokens_see_later_ones_is_refused():
    with pytest.raises(actkit.UnknownFamily, match="BertLMHeadModel is not causal"):
        actkit.load(_unlisted("bert"))


def test_left_padding_is_refused_where_a_state_reads_it():
    with pytest.warns(UserWarning, match="left padding: refused"):
        model = actkit.load(_unlisted("xlstm", num_heads=4))
    with pytest.raises(actkit.ActkitError, match="cannot take rows padded on the left"):
        model.run(model.encode([[5, 6, 7], [8]]))
    together = model.run(model.encode([[5, 6, 7], [8]], pad="right")).logits[1]
    torch.testing.assert_close(together, model.run(model.encode([[8]])).logits[0], atol=1e-5, rtol=1e-5)


def test_an_architecture_that_was_never_in_the_table_keeps_every_promise():
    with pytest.warns(UserWarning, match="no row"):
        model = actkit.load(
            _unlisted("kolibri1", num_experts=4, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=24)
        )
    assert actkit.check(model), str(actkit.check(model))
    assert {"mlp_post", "expert_weights", "attn_pattern", "resid_mid"} <= {s.kind for s in model.sites.values()}


def test_a_sum_that_is_only_nearly_right_is_not_taken():
    from actkit.probing import is_sum

    torch.manual_seed(0)
    start, part = torch.randn(8, 32), torch.randn(8, 32)
    assert is_sum(start + part, start, part)
    assert is_sum(start + 0.3 * part, start, part)
    assert not is_sum(start + part + 0.01 * torch.randn(8, 32), start, part)
    assert not is_sum(start, start, part)
    assert not is_sum((start * 1e6 + part).bfloat16(), (start * 1e6).bfloat16(), part.bfloat16())


@pytest.fixture
def unlisted(monkeypatch):
    """Takes the rows of an architecture out of the table."""

    def remove(model_type):
        kept = tuple(row for row in rows.FAMILIES if row.model_type != model_type)
        assert len(kept) < len(rows.FAMILIES)
        monkeypatch.setattr(rows, "FAMILIES", kept)

    return remove


def test_a_model_without_a_row_loads_with_a_warning_and_gives_the_same(unlisted, tmp_path):
    listed = actkit.load(families.tiny_model("starcoder2"))
    batch = listed.encode([[5, 6, 7, 8], [9, 10]])
    expected = listed.run(batch, capture="*")
    folder = families.save("starcoder2", tmp_path / "model")
    unlisted("starcoder2")
    with pytest.warns(UserWarning, match="no row for the architecture 'starcoder2'"):
        probed = actkit.load(folder)
    seen = probed.run(batch, capture="*")
    assert list(seen) == list(expected)
    assert all(torch.equal(seen[site], expected[site]) for site in seen)


def test_probing_leaves_the_model_as_it_was():
    hf = families.tiny_model("gpt2")
    hf.train()
    before = (torch.get_rng_state().tolist(), [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in hf.modules()])
    probe(hf)
    after = (torch.get_rng_state().tolist(), [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in hf.modules()])
    assert before == after
    assert hf.training


def test_what_cannot_be_verified_is_left_out_with_the_reason(unlisted):
    """Doge scales its stream, so no plain sum holds: no site between attention and MLP is claimed."""
    unlisted("doge")
    with pytest.warns(UserWarning, match="how its output adds up is not known"):
        model = actkit.load(families.tiny_model("doge"))
    assert {site.kind for site in model.sites.values()} >= {"embed", "resid_pre", "resid_post", "logits"}
    with pytest.raises(actkit.UnknownSite, match="no module was found that can be verified"):
        model.run(model.encode([[5, 6]]), capture="resid_mid.1")


def test_a_model_without_blocks_is_refused():
    hf = families.tiny_model("llama")
    hf.model.layers = nn.Sequential(*hf.model.layers)
    with pytest.raises(actkit.UnknownFamily, match="No list of decoder blocks"):
        probe(hf)


@pytest.mark.parametrize("kind", sorted(rows.REFUSED))
def test_refused_architectures_say_why(kind):
    config = type("Config", (), {"model_type": kind})()
    with pytest.raises(actkit.UnknownFamily, match=re.escape(rows.REFUSED[kind])):
        find(config)


def test_the_documented_example_runs_and_gives_the_row_of_the_table(capsys):
    scope: dict = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(code, scope)
    hf, row = scope["hf"], scope["row"]
    assert row == find(hf.config)
    printed = capsys.readouterr().out
    assert "blocks: model.layers, each one's output is the next one's input" in printed
    assert "resid_pre + self_attn.o_proj = input of post_attention_layernorm; + mlp" in printed
    blocks = list(hf.get_submodule(row.blocks).children())
    assert scope["probed"].family.taps(blocks[0]) == row.taps(blocks[0])


def test_a_row_takes_at_most_fifteen_lines():
    """Counted as the fields in which a row differs from Llama's."""
    llama = rows.Family("", "")
    for row in rows.FAMILIES:
        differs = [f.name for f in dataclasses.fields(row) if getattr(row, f.name) != getattr(llama, f.name)]
        assert len(differs) <= 13, row.name


def test_rows_are_unique_and_the_last_of_a_type_takes_every_configuration():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = [row.name for row in rows.FAMILIES]
    assert len(set(names)) == len(names)
    last = {row.model_type: row for row in rows.FAMILIES}
    assert all(row.when(None) for model_type, row in last.items())
