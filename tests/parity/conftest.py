"""The models every promise is tested on, and the table of promises × families that the tests write.

`pytest tests/parity` compares what it found with docs/families.md and fails where the page is stale;
`pytest tests/parity --write-families` rewrites the page. A new promise is one line in PROMISES and its name on a
module or a test: `pytestmark = pytest.mark.promise("padding")`.
"""

import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import actkit
import pytest
import torch
from actkit.families import FAMILIES, REFUSED
from specimens import families

PROMISES = {
    "logits": "1: logits with hooks at every site are plain Hugging Face's, bit for bit",
    "write-back": "1: writing a site's own value back changes nothing, bit for bit",
    "stream": "1, 2: the stream is Hugging Face's hidden states and the sum of what is written to it; "
    "edits between attention and MLP reach both; unembedding its end gives the logits",
    "neurons": "2: `mlp_post @ value_vectors (+ bias)` is `mlp_out`, to 1e-5",
    "heads": "2: `attn_z` through the output projection is `attn_out`, to 1e-5",
    "experts": "2: every expert's neurons, weighted, are what the experts write; edits of one expert stay with it",
    "attention": "3: queries, keys, values and patterns are Hugging Face's own, and edits of them do what they say",
    "padding": "4: a row of a mixed batch is that row alone, padded left or right (1e-5 in float32, 1e-12 in float64)",
    "decoding": "5: captures and edits while generating are those of one forward over the finished text",
    "no trace": "6: hooks, weights, configuration, modes and random state are as before, also after an exception",
    "early stop": "7: no block after the last one needed runs, and no head unless logits are asked for",
}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "families.md"
_COLUMNS = {"test_parity_attention": "attention", "test_parity_experts": "experts"}

_ROUTER = "its router computes in float32 in every dtype"
_STATE = "its recurrence computes in float32 in every dtype"
FLOAT32_INSIDE = {
    **dict.fromkeys(
        ["beam", "deepseek_v2", "deepseek_v3", "glm4_moe_lite", "dots1", "minimax_m2", "exaone_moe", "afmoe"], _ROUTER
    ),
    **dict.fromkeys(
        ["solar_open", "hy_v3", "llama4_text", "laguna", "axk1", "glm4_moe", "ernie4_5_moe", "flint"], _ROUTER
    ),
    **dict.fromkeys(["minimax", "mamba", "mamba2", "falcon_mamba", "jamba", "bamba", "zamba", "zamba2"], _STATE),
    **dict.fromkeys(["falcon_h1", "granitemoehybrid", "nemotron_h", "qwen3_next", "qwen3_5_text"], _STATE),
    **dict.fromkeys(["qwen3_5_moe_text", "olmo_hybrid", "kimi_linear"], _STATE),
}
"""Families that hold 1e-5 rather than 1e-12 in float64, and why."""
EVERY_CASE = [*families.NAMES, *families.VARIANTS]


_SEEDS = {"hyperclovax": 1, "persimmon": 1}  # with seed 0 their greedy texts are one token over and over


@cache
def _build(name: str, dtype: torch.dtype) -> actkit.Model:
    """A tiny model; in float64 with attention and experts that compute in float64 too."""
    if dtype == torch.float32:
        return actkit.load(families.tiny_model(name, seed=_SEEDS.get(name, 0)))
    # Gemma 2 has no sdpa only because of its soft cap in attention; without it the two are the same function.
    capped = name in ("gemma2", "vaultgemma")
    options = {"attn_logit_softcapping": None} if capped else {}
    hf = families.tiny_model(name, seed=_SEEDS.get(name, 0), dtype=dtype, **options)
    if capped or hf._supports_sdpa:
        hf.config._attn_implementation = "sdpa"
    if getattr(hf, "_can_set_experts_implementation", lambda: False)():
        hf.set_experts_implementation("eager")
    return actkit.load(hf)


@pytest.fixture(params=EVERY_CASE, scope="session")
def case(request) -> str:
    """For the session, so that all tests of a model follow each other, in one process that has built it."""
    return request.param


@pytest.fixture
def model(case) -> actkit.Model:
    return _build(case, torch.float32)


@pytest.fixture
def exact(case) -> actkit.Model:
    """The same model in float64."""
    model = _build(case, torch.float64)
    if model.dims.heads and model.hf.config._attn_implementation == "eager":
        pytest.skip("eager attention only, which divides by zero in float64 under padding: held in float32")
    return model


@pytest.fixture
def tiny_error(case) -> float:
    """What rounding may do to values near 1 in a float64 model."""
    return 1e-5 if case in FLOAT32_INSIDE else 1e-12


@pytest.fixture
def generating(model, rows):
    """Skips, once the refusal has been seen, where a family cannot decode these rows."""
    for reason in ("generate", "left_padding"):
        if reason in model.family.refuses:
            with pytest.raises(actkit.ActkitError, match=model.family.refuses[reason]):
                model.generate(model.encode(rows, pad="right"), max_new_tokens=2)
            pytest.skip(f"refused by name: {model.family.refuses[reason]}")


@pytest.fixture
def padded(model, rows):
    """Encoder of the mixed rows; skips, once the refusal has been seen, where a family cannot take the side."""

    def encode(pad):
        batch = model.encode(rows, pad=pad)
        if pad == "left" and "left_padding" in model.family.refuses:
            with pytest.raises(actkit.ActkitError, match="padded on the left"):
                model.run(batch)
            pytest.skip(f"left padding is refused by name: {model.family.refuses['left_padding']}")
        return batch

    return encode


@pytest.fixture
def either(model, rows):
    """The mixed rows padded on the left, or on the right where the family refuses the left."""
    return model.encode(rows, pad="right" if "left_padding" in model.family.refuses else "left")


@pytest.fixture
def inner(model) -> list[str]:
    """Every site of the model but the logits."""
    return [name for name in model.sites if name != "logits"]


@pytest.fixture
def refused(model, either) -> str | None:
    """Why this family's patterns cannot be edited, in the refusal's own words; None where they can."""
    if not any(site.kind == "attn_pattern" for site in model.sites.values()):
        return None
    try:
        model.run(either, edits=[actkit.fn("attn_pattern.*", torch.clone)])
    except actkit.EditError as error:
        return str(error)
    return None


@pytest.fixture
def editable(inner, refused) -> list[str]:
    """Every site that edits may change."""
    return [name for name in inner if not (refused and name.startswith("attn_pattern"))]


@pytest.fixture
def rows() -> list[list[int]]:
    """Prompts of mixed length; the first is longer than the sliding windows of the models that have one."""
    return [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [20, 21, 22], [30, 31, 32, 33, 34, 35]]


@pytest.fixture
def plain():
    """Hugging Face's own forward over a batch, without anything of ours."""

    @torch.no_grad()
    def forward(hf, batch, **options):
        return hf(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            **{"use_cache": False, **options},
        )

    return forward


# What follows writes docs/families.md.

_found: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
_problems: list[str] = []


def pytest_addoption(parser):
    parser.addoption("--write-families", action="store_true", help="rewrite docs/families.md from these results")


def pytest_configure(config):
    config.addinivalue_line("markers", "promise(name): the column of docs/families.md this test decides")


def pytest_collection_modifyitems(items):
    for item in items:
        case = getattr(item, "callspec", None) and item.callspec.params.get("case")
        marker = item.get_closest_marker("promise")
        name = marker.args[0] if marker else _COLUMNS.get(Path(str(item.path)).stem)
        if case and name:
            assert name in PROMISES, f"{item.nodeid}: no promise {name!r}"
            item.user_properties.append(("promise", (name, case)))


def pytest_runtest_logreport(report):
    """Runs in the process that reports, which under xdist is not the one that tests."""
    for promise, case in (value for name, value in report.user_properties if name == "promise"):
        found = _found[promise, case]
        if report.failed:
            found["failed"].add(report.nodeid)
        elif report.skipped:
            found["skipped"].add(report.longrepr[2].removeprefix("Skipped: "))
        elif report.when == "call":
            found["passed"].add(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    config = session.config
    if hasattr(config, "workerinput") or set(_found) != {(p, c) for p in PROMISES for c in EVERY_CASE}:
        return  # a worker of xdist, or only some of the tests
    page = _page()
    if config.getoption("--write-families", False):
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page:
        _problems.append("docs/families.md is stale: run pytest tests/parity --write-families")
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter):
    for problem in _problems:
        terminalreporter.write_line(f"ERROR {problem}", red=True)


def _page() -> str:
    """The page: promises, families, reasons."""
    reasons: dict[str, int] = {}
    lines = []
    for case in sorted(EVERY_CASE):
        family = _build(case, torch.float32).family
        cells = [_cell(_found[promise, case], reasons) for promise in PROMISES]
        lines.append(f"| {family.name} | `{case}` | {' | '.join(cells)} |")
    parts = [
        _HEAD.format(families=len({f.model_type for f in FAMILIES}), rows=len(FAMILIES)),
        *(f"- **{name}** – promise {text}" for name, text in PROMISES.items()),
        f"\n| family | tiny model | {' | '.join(PROMISES)} |\n|---|---|{'---|' * len(PROMISES)}",
        *lines,
        "\n## Reasons\n",
        *(f"{number}. {reason}" for reason, number in reasons.items()),
        "\n## In float64 only to 1e-5\n",
        *(f"- {why}: {', '.join(f'`{c}`' for c, r in FLOAT32_INSIDE.items() if r == why)}"
          for why in (_ROUTER, _STATE)),
        "\n## Architectures that are refused\n",
        *(f"- `{name}`: {reason}" for name, reason in REFUSED.items()),
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _cell(found: dict[str, set[str]], reasons: dict[str, int]) -> str:
    """✓ holds, ✗ does not, – does not apply; numbers are reasons for what was skipped."""
    skipped = sorted({_plain(reason) for reason in found["skipped"]})
    notes = ",".join(str(reasons.setdefault(reason, len(reasons) + 1)) for reason in skipped)
    sign = "✗" if found["failed"] else "✓" if found["passed"] else "–"
    return f"{sign} {notes}".strip()


def _plain(reason: str) -> str:
    """Without names of families and layers, so that like reasons are one."""
    reason = re.sub(r"^.* has no \w+: |^refused by name: |^left padding is refused by name: ", "", reason)
    return re.sub(r"(attn_\w+)\.\d+", r"\1", reason).rstrip(".")


_HEAD = """# Promises × families

Written by `pytest tests/parity --write-families` from what the tests found, and compared with it at every
`pytest tests/parity`. Every promise of actkit is tried on a tiny random model of each of {families} architectures
({rows} rows: some are wired in more than one way). ✓ holds; – does not apply; a number behind either is the reason why
a part of it was skipped. `actkit check MODEL` runs the same promises on a model of yours. An architecture that is
neither in the table nor refused is looked at structurally: see [adding a model](adding-a-model.md).
"""
