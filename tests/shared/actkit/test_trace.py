"""Every cell of a grid is a row of a plain Hugging Face forward with a hook, on families wired in different ways."""

from functools import cache
from operator import attrgetter

import actkit
import pytest
import torch
from actkit.tracing.inputs import prepare
from specimens import families

# Where each family keeps its blocks, its MLP and its attention; written down here, not asked of actkit.
LAYOUT = {
    "llama": ("model.layers", "mlp", "self_attn", "self_attn.o_proj", "mlp.down_proj"),
    "mistral": ("model.layers", "mlp", "self_attn", "self_attn.o_proj", "mlp.down_proj"),
    "gemma2": ("model.layers", "mlp", "self_attn", "self_attn.o_proj", "mlp.down_proj"),
    "mixtral": ("model.layers", "mlp", "self_attn", "self_attn.o_proj", None),
    "gpt2": ("transformer.h", "mlp", "attn", "attn.c_proj", "mlp.c_proj"),
    "gpt_neox": ("gpt_neox.layers", "mlp", "attention", "attention.dense", "mlp.dense_4h_to_h"),
    "falcon": ("transformer.h", "mlp", "self_attention", "self_attention.dense", "mlp.dense_4h_to_h"),
    "falcon-alibi": ("transformer.h", "mlp", "self_attention", "self_attention.dense", "mlp.dense_4h_to_h"),
}
CLEAN = [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14], [20, 21, 22, 23, 24]]
CORRUPT = [[5, 6, 7, 50, 9, 10, 51, 12, 13, 14], [20, 60, 22, 23, 24]]
TARGET, CONTRAST = 33, 44


@cache
def built(family):
    """In float64, so that nothing but a real difference is seen."""
    extra = {"attn_logit_softcapping": None} if family == "gemma2" else {}
    hf = families.tiny_model(family, dtype=torch.float64, **extra)
    hf.config._attn_implementation = "sdpa"
    if family == "mixtral":
        hf.set_experts_implementation("eager")
    return hf


@pytest.fixture(params=LAYOUT)
def family(request):
    return request.param


class Plain:
    """The oracle: a row of one forward per question, all of the same tokens, and hooks of its own."""

    def __init__(self, family):
        self.hf = built(family)
        blocks, mlp, attn, z, post = LAYOUT[family]
        self.layers = attrgetter(blocks)(self.hf)
        self.where = {
            "resid_pre": ("", True),
            "resid_post": ("", False),
            "mlp_out": (mlp, False),
            "attn_out": (attn, False),
            "attn_z": (z, True),
            "mlp_post": (post, True),
        }

    def module(self, kind, layer):
        path, before = self.where[kind]
        return (attrgetter(path)(self.layers[layer]) if path else self.layers[layer]), before

    @torch.no_grad()
    def logits(self, ids, *hooks, rows=1):
        handles = [hook for make in hooks for hook in make]
        try:
            return self.hf(torch.tensor([ids] * rows)).logits[:, -1]
        finally:
            for handle in handles:
                handle.remove()

    def reading(self, kind, layer, into):
        def note(x):
            into[kind, layer] = x.clone()

        return [self._hook(kind, layer, note)]

    def writing(self, kind, layer, columns, source, units=slice(None)):
        """Each row at the positions of its column."""

        def write(x):
            x = x.clone()
            for row, positions in enumerate(columns):
                for position in positions:
                    x[row, position, units] = source[kind, layer][0, position, units]
            return x

        return [self._hook(kind, layer, write)]

    def noising(self, noise):
        return [self.hf.get_input_embeddings().register_forward_hook(lambda _m, _a, out: out + noise)]

    def _hook(self, kind, layer, f):
        module, before = self.module(kind, layer)
        if before:

            def pre(_m, args, kwargs):
                new = f(args[0] if args else kwargs["hidden_states"])
                if new is None:
                    return None
                return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

            return module.register_forward_pre_hook(pre, with_kwargs=True)

        def post(_m, _a, out):
            new = f(out[0] if isinstance(out, tuple) else out)
            return None if new is None else ((new, *out[1:]) if isinstance(out, tuple) else new)

        return module.register_forward_hook(post)


def score(logits):
    return logits[..., TARGET] - logits[..., CONTRAST]


def expected(plain, clean, corrupt, kind, columns, *, window=1, into="corrupt", noise=None, units=slice(None)):
    """[L, P] of one pair, NaN where a column is empty; `noise` is added to the embeddings of its corrupt run."""
    count = len(plain.layers)
    source, base = (clean, corrupt) if into == "corrupt" else (corrupt, clean)
    held = {}
    readers = [plain.reading(kind, layer, held) for layer in range(count)]
    plain.logits(source, *readers, *([plain.noising(noise)] if noise is not None and into == "clean" else []))
    found = torch.full((count, len(columns)), torch.nan, dtype=torch.float64)
    asked = [j for j, positions in enumerate(columns) if positions]
    for layer in range(count):
        near = range(max(0, layer - window // 2), min(count, layer - (-window // 2)))
        hooks = [plain.writing(kind, k, [columns[j] for j in asked], held, units) for k in near]
        if noise is not None and into == "corrupt":
            hooks.append(plain.noising(noise))
        found[layer, asked] = score(plain.logits(base, *hooks, rows=len(asked)))
    return found


def ask(model, clean, corrupt, **options):
    return actkit.trace(model, clean, corrupt, metric="logit_difference", target=TARGET, contrast=CONTRAST, **options)


def same(found, wanted, atol=1e-10):
    torch.testing.assert_close(found, wanted, atol=atol, rtol=0, equal_nan=True)


ALL = [[(i,) if i < len(row) else () for i in range(10)] for row in CLEAN]


@pytest.mark.parametrize("into", ["corrupt", "clean"])
def test_every_cell_equals_one_plain_forward(family, into):
    """Pairs of mixed length, in one batch against each alone; streams, outputs, heads and neurons."""
    plain, model = Plain(family), actkit.load(built(family))
    kinds = [kind for kind in plain.where if not (kind == "mlp_post" and plain.where[kind][0] is None)]
    grid = ask(model, CLEAN, CORRUPT, at=kinds, into=into)
    assert grid.sites == tuple(kinds)
    for row in range(2):
        same(grid.clean_rows[row], score(plain.logits(CLEAN[row]))[0])
        same(grid.corrupt_rows[row], score(plain.logits(CORRUPT[row]))[0])
        for kind in kinds:
            wanted = expected(plain, CLEAN[row], CORRUPT[row], kind, ALL[row], into=into)
            same(grid[kind].per_row[row, 0], wanted)
    assert (grid["resid_post"].values - grid.base).abs().max() > 0.01


@pytest.mark.parametrize("into", ["corrupt", "clean"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_windows_and_named_positions(family, into):
    plain, model = Plain(family), actkit.load(built(family))
    named = {"pair's own": [(3, 6), (1,)], "two": (1, -2), "last": -1}
    options = {"window": 2, "into": into}
    grid = ask(model, CLEAN, CORRUPT, at=["resid_pre", "resid_post", "mlp_out", "attn_out"], positions=named, **options)
    assert grid.positions == tuple(named)
    for row, own in enumerate([(3, 6), (1,)]):
        columns = [own, (1, len(CLEAN[row]) - 2), (len(CLEAN[row]) - 1,)]
        for kind in grid.sites:
            wanted = expected(plain, CLEAN[row], CORRUPT[row], kind, columns, **options)
            same(grid[kind].per_row[row, 0], wanted)


@pytest.mark.parametrize("into", ["corrupt", "clean"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "mixtral"])
def test_noised_spans_average_over_samples(family, into):
    plain, model = Plain(family), actkit.load(built(family))
    spans = [(2, 3), (1, -1)]
    noised = actkit.Noised(spans, sigma=0.7, samples=3, seed=5)
    grid = ask(model, CLEAN, noised, at=["resid_post", "mlp_out"], window=3, into=into)
    noise = prepare(model, CLEAN, noised).noise(range(6), 32)
    for row in range(6):
        pair = row // 3
        added = noise[row, : len(CLEAN[pair])].double()
        wanted = [expected(plain, CLEAN[pair], CLEAN[pair], kind, ALL[pair], window=3, into=into, noise=added)
                  for kind in grid.sites]  # fmt: skip
        same(grid.per_row[row], torch.stack(wanted))
    assert float(grid.corrupt_rows.std()) > 0
    torch.testing.assert_close(grid.values, grid.per_row.nanmean(0), equal_nan=True)


def test_noise_is_seeded_gaussian_of_the_size_asked_for_and_only_on_the_span():
    model = actkit.load(built("llama"))
    ids = [[5, 6, 7, 8, 9, 10]]
    pairs = prepare(model, ids, actkit.Noised((1, 2, 3), sigma="3x", samples=400, seed=1))
    spread = float(built("llama").model.embed_tokens.weight[[6, 7, 8]].detach().std())
    noise = pairs.noise(range(400), 32)
    assert pairs.sigma == pytest.approx(3 * spread, rel=1e-5)
    assert float(noise[:, 1:4].std()) == pytest.approx(3 * spread, rel=0.02)
    assert float(noise[:, 1:4].mean()) == pytest.approx(0, abs=0.1 * spread)
    assert not noise[:, [0, 4, 5]].any()
    again = prepare(model, ids, actkit.Noised((1, 2, 3), samples=7, seed=1)).noise([2, 6], 32)
    assert torch.equal(again, noise[[2, 6]])
    assert not torch.equal(prepare(model, ids, actkit.Noised((1, 2, 3), seed=2)).noise([2], 32), noise[[2]])


def test_each_head_by_itself():
    plain, model = Plain("llama"), actkit.load(built("llama"))
    grid = ask(model, CLEAN, CORRUPT, at="attn_z", per_head=True, positions=[-1, 3])
    assert grid.sites == tuple(f"attn_z[{head}]" for head in range(4))
    for head in range(4):
        for row in range(2):
            columns = [(len(CLEAN[row]) - 1,), (3,)]
            units = slice(8 * head, 8 * head + 8)
            wanted = expected(plain, CLEAN[row], CORRUPT[row], "attn_z", columns, units=units)
            same(grid.per_row[row, head], wanted)


@pytest.mark.parametrize("kind", ["attn_q", "attn_k", "attn_v", "attn_pattern"])
def test_sites_inside_attention_agree_with_a_swap(kind):
    """Against `Model.run`, one edit per cell."""
    model = actkit.load(built("llama"))
    grid = ask(model, CLEAN[:1], CORRUPT[:1], at=kind, positions=[-1, 3, 6])
    clean, corrupt = model.encode(CLEAN[:1]), model.encode(CORRUPT[:1])
    source = model.run(clean, capture=f"{kind}.*")
    for layer in range(3):
        for j, position in enumerate([-1, 3, 6]):
            edit = actkit.swap(f"{kind}.{layer}", source, actkit.Where(pos=position))
            wanted = float(score(model.run(corrupt, edits=[edit]).logits[0]))
            assert float(grid.values[0, layer, j]) == pytest.approx(wanted, abs=1e-10)
    assert (grid.values - grid.corrupt).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_float32_agrees_to_a_millionth_whatever_the_batch(family):
    model = actkit.load(families.tiny_model(family))
    exact = actkit.trace(actkit.load(built(family)), CLEAN, CORRUPT, at="resid_post", metric="prob", target=TARGET)
    for batch_size in (None, 1, 3):
        options = {"metric": "prob", "target": TARGET, "batch_size": batch_size}
        grid = actkit.trace(model, CLEAN, CORRUPT, at="resid_post", **options)
        torch.testing.assert_close(grid.per_row, exact.per_row, atol=1e-6, rtol=0, equal_nan=True)


def test_metrics_are_what_their_names_say():
    plain, model = Plain("llama"), actkit.load(built("llama"))
    clean, corrupt = (torch.cat([plain.logits(row) for row in rows]) for rows in (CLEAN, CORRUPT))
    p = clean.softmax(-1)
    wanted = {
        "prob": (p[:, 3], corrupt.softmax(-1)[:, 3]),
        "logprob": (p[:, 3].log(), corrupt.log_softmax(-1)[:, 3]),
        "logit": (clean[:, 3], corrupt[:, 3]),
        "kl": (torch.zeros(2).double(), (p * (p.log() - corrupt.log_softmax(-1))).sum(-1)),
    }
    for name, (of_clean, of_corrupt) in wanted.items():
        target = {} if name == "kl" else {"target": 3}
        grid = actkit.trace(model, CLEAN, CORRUPT, at="resid_post.1", metric=name, positions=[-1], **target)
        same(grid.clean_rows, of_clean)
        same(grid.corrupt_rows, of_corrupt)
    own = actkit.trace(model, CLEAN, CORRUPT, at="resid_post", metric=lambda logits: logits[:, 3] * 2)
    same(own.per_row, 2 * actkit.trace(model, CLEAN, CORRUPT, at="resid_post", metric="logit", target=3).per_row)
    each = actkit.trace(model, CLEAN, CORRUPT, at="resid_post", metric="logit", target=[3, 9])
    for row, token in enumerate([3, 9]):
        alone = actkit.trace(model, CLEAN, CORRUPT, at="resid_post", metric="logit", target=token)
        same(each.per_row[row], alone.per_row[row])


def test_batches_padded_on_either_side_give_the_same():
    model = actkit.load(built("gpt2"))
    padded = [model.encode(CLEAN, pad="left"), model.encode(CORRUPT, pad="right")]
    same(ask(model, *padded, at="mlp_out").per_row, ask(model, CLEAN, CORRUPT, at="mlp_out").per_row)


@pytest.mark.parametrize("family", ["rwkv", "recurrent_gemma", "bloom"])
def test_rows_of_a_batch_are_rows_alone_in_recurrent_and_tuple_giving_families_too(family):
    model = actkit.load(families.tiny_model(family))
    options = {"at": ["resid_post", "mlp_out"], "positions": [1, -2, -1]}
    together = ask(model, CLEAN, CORRUPT, **options)
    assert together.per_row.isfinite().all()
    for row in range(2):
        alone = ask(model, CLEAN[row : row + 1], CORRUPT[row : row + 1], **options)
        same(together.per_row[row], alone.per_row[0], atol=1e-5)
