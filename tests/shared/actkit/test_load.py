"""From folders, ids and models in memory."""

import json

import actkit
import pytest
import torch
from specimens import families


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return families.save("qwen2", tmp_path_factory.mktemp("model"))


def test_a_folder_gives_the_same_model_and_tokenizer(folder, plain_logits):
    model = actkit.load(folder, device="cpu")
    assert model.family.name == "Qwen2"
    assert model.tokenizer.decode(model.encode(["The answer is"]).ids[0]) == "The answer is"
    assert torch.equal(model.run(model.encode([[5, 6, 7]])).logits, plain_logits)
    assert not model.hf.training


@pytest.fixture
def plain_logits():
    hf = families.tiny_model("qwen2")
    with torch.no_grad():
        return hf(torch.tensor([[5, 6, 7]]), logits_to_keep=1).logits[:, 0]


def test_a_folder_without_tokenizer_loads_and_refuses_text(tmp_path):
    model = actkit.load(families.save("gpt2", tmp_path / "bare", tokenizer=False))
    assert model.tokenizer is None
    assert len(model.generate(model.encode([[5, 6]]), max_new_tokens=2, eos=False).tokens[0]) == 2
    with pytest.raises(actkit.NoTokenizer, match="Pass lists of token ids"):
        model.encode(["text"])


def test_a_tokenizer_may_come_from_elsewhere(tmp_path, folder):
    bare = families.save("gpt2", tmp_path / "bare", tokenizer=False)
    assert actkit.load(bare, tokenizer=folder).encode(["The answer"]).ids
    assert actkit.load(bare, tokenizer=families.tiny_tokenizer()).encode(["The answer"]).ids


def test_a_loaded_model_is_taken_as_it_is():
    hf = families.tiny_model("llama", dtype=torch.bfloat16)
    model = actkit.load(hf)
    assert model.hf is hf
    assert hf.dtype == torch.bfloat16


def test_dtypes_by_name(folder):
    assert actkit.load(folder, dtype="float64", device="cpu").hf.dtype == torch.float64
    with pytest.raises(actkit.LoadError, match="Unknown dtype 'fp32'"):
        actkit.load(folder, dtype="fp32")


@pytest.mark.parametrize("place", ["./no/such", "/no/such/folder", "~/no-such-model"])
def test_a_path_that_does_not_exist_is_named(place):
    with pytest.raises(actkit.LoadError, match=r"There is no model folder .*no.such"):
        actkit.load(place)


def test_a_folder_that_holds_no_model_is_named(tmp_path):
    with pytest.raises(actkit.LoadError, match=r"is not a model folder: it has no config.json"):
        actkit.load(tmp_path)


def test_a_folder_without_weights_is_named(tmp_path, folder):
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(actkit.LoadError, match="Cannot load a model from"):
        actkit.load(tmp_path)


def test_a_refused_architecture_is_told_from_its_configuration_alone(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "cpmant", "architectures": ["CpmAntForCausalLM"]}))
    with pytest.raises(actkit.UnknownFamily, match="'cpmant'"):
        actkit.load(tmp_path)


@pytest.mark.realdata
def test_a_real_model_reads_and_writes_text(shared_folder):
    model = actkit.load(shared_folder / "models" / "stories260k", device="cpu")
    batch = model.encode(["Once upon a time, there was a", "Tom had a red"])
    generation = model.generate(batch, max_new_tokens=30, stop=".")
    with torch.no_grad():
        theirs = model.hf.generate(
            batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=30, do_sample=False
        )
    for row, text in enumerate(generation.texts):
        whole = model.tokenizer.decode(theirs[row], skip_special_tokens=True)
        assert text.startswith(" ")
        assert "." not in text
        assert (["Once upon a time, there was a", "Tom had a red"][row] + text + ".") in whole
