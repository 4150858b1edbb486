"""`actkit check` says of a model what is so: promises hold, are refused by name, or do not hold."""

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import actkit
import pytest
import torch
from actkit import families as rows
from actkit.cli import app
from specimens import families
from typer.testing import CliRunner

REASONER = Path(__file__).resolve().parents[3] / "shared/specimens/src/specimens/data/tiny_reasoner"


def _verdicts(report):
    return {line.promise: line.verdict for line in report.lines}


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt-postnorm", "gemma2", "lfm2", "qwen2_moe", "granitemoeshared"])
def test_all_promises_hold_or_are_refused_on_models_of_the_table(name):
    report = actkit.check(families.tiny_model(name))
    assert report
    assert report.known
    assert all(line.reason for line in report.lines if line.verdict in ("refused", "skipped"))
    assert _verdicts(report)["1 logits with hooks everywhere"] == "holds"


_MOE = {"num_experts": 4, "n_routed_experts": 4, "moe_intermediate_size": 24}


@pytest.mark.parametrize(
    ("name", "fields", "row"),
    [
        ("stablelm", {"use_parallel_residual": True}, "StableLM (parallel)"),
        ("gemma4_text", {"enable_moe_block": True, "top_k_experts": 2, **_MOE}, "Gemma 4 (experts)"),
        ("granitemoehybrid", {"num_local_experts": 0}, "Granite 4 (hybrid)"),
        (
            "nemotron_h",
            {
                "layers_block_type": ["mamba", "moe", "attention"],
                "num_experts_per_tok": 2,
                "n_group": 1,
                "topk_group": 1,
            }
            | {"moe_shared_expert_intermediate_size": 40}
            | _MOE,
            "Nemotron-H",
        ),
    ],
)
def test_rows_for_other_wirings_hold_too(name, fields, row):
    report = actkit.check(families.tiny_model(name, **fields))
    assert report.family == row
    assert report, str(report)


def test_what_a_family_cannot_do_is_refused_by_name():
    report = actkit.check(families.tiny_model("rwkv"))
    assert report
    found = {line.promise: line for line in report.lines}
    assert found["5 generating = one forward"].verdict == "refused"
    assert "RWKV cannot generate" in found["5 generating = one forward"].reason
    assert "right only" in found["4 a row alone = in a batch"].measured


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_are_held_to_their_own_bounds(dtype):
    report = actkit.check(families.tiny_model("llama", dtype=dtype))
    assert report, str(report)
    assert report.dtype == str(dtype).removeprefix("torch.")


def test_a_wrong_fact_is_found(monkeypatch):
    row = rows.find(families.tiny_model("llama").config)
    monkeypatch.setattr(rows, "FAMILIES", (replace(row, final_norm=None, mlp_down="mlp.gate_proj"),))
    report = actkit.check(families.tiny_model("llama"))
    assert not report
    assert _verdicts(report)["1 the stream, and its unembedding"] == "fails"
    assert _verdicts(report)["2 neurons × value vectors"] == "fails"
    assert "does not hold" in str(report)


def test_a_model_whose_forward_is_not_the_same_twice_is_found():
    hf = families.tiny_model("llama")
    hf.model.layers[1].register_forward_hook(lambda _m, _a, out: out + 0.01 * torch.randn_like(out))
    report = actkit.check(hf)
    assert not report
    assert _verdicts(report)["1 logits with hooks everywhere"] == "fails"
    assert _verdicts(report)["6 nothing left behind"] == "fails"  # the random state moved


def test_an_architecture_without_a_row_says_what_was_verified(monkeypatch):
    monkeypatch.setattr(rows, "FAMILIES", ())
    with pytest.warns(UserWarning, match="no row"):
        report = actkit.check(families.tiny_model("starcoder2"))
    assert report
    assert not report.known
    assert any(line.startswith("blocks: model.layers") for line in report.verified)
    assert "Verified" in str(report)


def test_the_check_leaves_the_model_as_it_was():
    hf = families.tiny_model("llama")
    hf.train()
    before = [(p.data_ptr(), p._version) for p in hf.parameters()]
    actkit.check(actkit.load(hf))
    assert [(p.data_ptr(), p._version) for p in hf.parameters()] == before
    assert hf.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in hf.modules())


def _cli(*args):
    return CliRunner().invoke(app, ["check", *map(str, args)])


def test_the_shipped_specimen_passes_from_the_command_line():
    done = _cli(REASONER)
    assert done.exit_code == 0, done.output
    assert "all promises that apply hold" in done.stdout
    assert "bit-equal" in done.stdout


@pytest.mark.realdata
def test_a_real_model_passes(shared_folder):
    result = _cli(shared_folder / "models/stories260k", "--device", "cpu")
    assert result.exit_code == 0, result.output


def test_exit_code_1_where_a_promise_does_not_hold(monkeypatch, tmp_path):
    folder = families.save("llama", tmp_path / "model")
    row = rows.find(families.tiny_model("llama").config)
    monkeypatch.setattr(rows, "FAMILIES", (replace(row, final_norm=None),))
    result = _cli(folder, "--device", "cpu", "--dtype", "float32")
    assert result.exit_code == 1
    assert "does not hold" in result.output


@pytest.mark.parametrize(
    "options", [["no/such/model/here"], [REASONER, "--dtype", "float3"], [REASONER, "--devise", "x"]]
)
def test_exit_code_2_for_bad_usage(options):
    assert _cli(*options).exit_code == 2


def test_help_does_not_wait_for_torch():
    code = "import sys, actkit.cli, actkit.errors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _imported_anew() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "actkit"]:
        del sys.modules[name]
    for name in ("actkit.harvest.folds", "actkit.check"):
        importlib.import_module(name)
    anew = sys.modules["actkit"]
    assert callable(anew.harvest)
    assert callable(anew.check)


def test_functions_win_over_modules_of_their_name(processes):
    process = processes.Process(target=_imported_anew)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert {name for name in dir(actkit) if hasattr(actkit, name)} >= {"check", "harvest", "load", "Report"}
    with pytest.raises(AttributeError, match="laod"):
        actkit.laod  # noqa: B018


def test_help_teaches():
    text = CliRunner().invoke(app, ["check", "--help"]).output
    for word in ("--device", "--dtype", "--revision", "bit for bit", "Exit codes", "actkit check gpt2"):
        assert word in text
