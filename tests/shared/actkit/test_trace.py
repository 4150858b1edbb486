"""Every cell of a grid is one plain Hugging Face forward with a hook: compared on families wired in different ways."""

from functools import cache
from operator import attrgetter

import actkit
import pytest
import torch
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
    """The oracle: one row, one forward per question, hooks of its own."""

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
    def logits(self, ids, *hooks):
        handles = [hook for make in hooks for hook in make]
        try:
            return self.hf(torch.tensor([ids])).logits[0, -1]
        finally:
            for handle in handles:
                handle.remove()

    def reading(self, kind, layer, into):
        def note(x):
            into[kind, layer] = x.clone()

        return [self._hook(kind, layer, note)]

    def writing(self, kind, layer, positions, source, units=slice(None)):
        def write(x):
            x = x.clone()
            x[0, positions, units] = source[kind, layer][0, positions, units]
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
    return float(logits[TARGET] - logits[CONTRAST])


def expected(plain, clean, corrupt, kind, columns, *, window=1, into="corrupt", noise=None):
    """[L, P] of one pair, NaN where a column is empty."""
    count = len(plain.layers)
    source, base = (clean, corrupt) if into == "corrupt" else (corrupt, clean)
    held = {}
    spoil = [] if noise is None else plain.noising(noise)
    [h.remove() for h in spoil]
    noisy = {"corrupt": into == "clean", "clean": False} if noise is not None else {}
    readers = [plain.reading(kind, layer, held) for layer in range(count)]
    plain.logits(source, *readers, *([plain.noising(noise)] if noisy.get("corrupt") else []))
    found = torch.full((count, len(columns)), torch.nan, dtype=torch.float64)
    for layer in range(count):
        near = range(max(0, layer - window // 2), min(count, layer - (-window // 2)))
        for j, positions in enumerate(columns):
            if not positions:
                continue
            hooks = [plain.writing(kind, k, list(positions), held) for k in near]
            if noise is not None and into == "corrupt":
                hooks.append(plain.noising(noise))
            found[layer, j] = score(plain.logits(base, *hooks))
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
    assert grid.sites == tuple(name.partition(".")[0] for name in model.sites if name in {f"{k}.0" for k in kinds})
    for row in range(2):
        assert float(grid.clean_rows[row]) == pytest.approx(score(plain.logits(CLEAN[row])), abs=1e-10)
        assert float(grid.corrupt_rows[row]) == pytest.approx(score(plain.logits(CORRUPT[row])), abs=1e-10)
        for kind in kinds:
            wanted = expected(plain, CLEAN[row], CORRUPT[row], kind, ALL[row], into=into)
            same(grid[kind].per_row[row, 0], wanted)
    assert (grid["resid_post"].values - grid.base).abs().max() > 0.01
