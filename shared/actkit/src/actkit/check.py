"""Every promise of actkit on one very model, with its own weights, against plain Hugging Face forwards.

Nothing is copied: beyond the model itself this takes a few activations of three short rows. Values that are summed in
another order differ by rounding, so they are compared as a relative error (norm of the difference over norm) with a
bound per dtype; what must be the same computation is compared bit for bit in every dtype.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from actkit import edits as edit
from actkit.batch import Batch, Pad
from actkit.errors import ActkitError
from actkit.families import find
from actkit.model import Model
from actkit.probing import probe
from actkit.report import Line, Report, Verdict
from actkit.where import Where

_LENGTHS = (9, 4, 6)
_NEW = 4
BOUNDS = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 8e-2}
"""Relative error that rounding over a deep model's layers may reach. Tiny models stay under 1e-12 and 1e-5."""


class _Found(NamedTuple):
    """What one promise came to: the worst number, what it may be at most, and how to say it."""

    worst: float
    bound: float
    unit: str = "relative error"
    exact: str = "bit-equal"
    """What a worst of 0 is called where nothing else is allowed."""

    def line(self, promise: str) -> Line:
        holds = self.worst <= self.bound
        number = f"{self.worst:.1e} {self.unit}, at most {self.bound:g}"
        return Line(promise, "holds" if holds else "fails", self.exact if self.bound == self.worst == 0 else number, "")


class _Skip(Exception):
    """The promise has nothing to be held against here."""


def check(model: Model | PreTrainedModel) -> Report:
    """Hold every promise of actkit against plain forwards of this very model.

    A promise that the family refuses by name is reported as refused. For an architecture without a row in the table
    the report also says which facts were found by a test forward and could be verified. Leaves the model as it was.
    """
    model = model if isinstance(model, Model) else Model(model)
    subject = _Subject(model)
    lines = tuple(_tried(name, promise, subject) for name, promise in _PROMISES.items())
    known = find(model.hf.config) is not None
    facts = ((), ()) if known else probe(model.hf)[1:]
    name = str(getattr(model.hf.config, "_name_or_path", "") or model.hf.config.model_type)
    return Report(name, model.family.name, str(model.hf.dtype).removeprefix("torch."), known, lines, *facts)


def _tried(name: str, promise: Callable[["_Subject"], _Found], subject: "_Subject") -> Line:
    verdict: Verdict
    try:
        return promise(subject).line(name)
    except _Skip as skip:
        verdict, reason = "skipped", str(skip)
    except ActkitError as error:
        verdict, reason = "refused", str(error).splitlines()[0]
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        verdict, reason = "fails", f"{type(error).__name__}: {error}".splitlines()[0]
    return Line(name, verdict, "", reason)


class _Subject:
    """The model and three rows of random ids of different lengths."""

    def __init__(self, model: Model) -> None:
        self.model = model
        generator = torch.Generator().manual_seed(0)
        self.rows = [torch.randint(model.dims.vocab, (n,), generator=generator).tolist() for n in _LENGTHS]
        self.bound = BOUNDS.get(model.hf.dtype, 8e-2)
        self.inner = [name for name in model.sites if name != "logits"]
        refuses_left = "left_padding" in model.family.refuses
        self.pads: Sequence[Pad] = ("right",) if refuses_left else ("left", "right")
        self.batch = self.padded(self.pads[0])
        self._editable: list[str] | None = None

    def padded(self, pad: Pad) -> Batch:
        return self.model.encode(self.rows, pad=pad)

    def plain(self, batch: Batch) -> Tensor:
        """Logits of Hugging Face's own forward: [B, T, V]."""
        training = self.model.hf.training
        self.model.hf.eval()
        try:
            with torch.no_grad():
                return self.model.hf(
                    input_ids=batch.input_ids,
                    attention_mask=batch.attention_mask,
                    position_ids=batch.position_ids,
                    use_cache=False,
                ).logits
        finally:
            self.model.hf.train(training)

    def sites(self, kind: str) -> list[str]:
        """Names of this kind's sites. Skips where a layer of the model has none, in the refusal's words."""
        found = [site.name for site in self.model.sites.values() if site.kind == kind]
        if not found:
            self.model.run(self.batch, capture=f"{kind}.0", logits=None)
        return found


def _error(a: Tensor, b: Tensor) -> float:
    """Norm of the difference over the norm; not a number counts as infinite."""
    a, b = a.float() if a.dtype != torch.float64 else a, b.to(a.device)
    error = float((a - b.to(a)).norm() / b.to(a).norm().clamp(min=1e-30))
    return error if error == error else float("inf")


def _same_bits(a: Tensor, b: Tensor) -> float:
    """0 where equal bit for bit, else the largest difference (at least the smallest positive number)."""
    return 0.0 if torch.equal(a, b) else max(float((a.double() - b.double()).abs().max()), 5e-324)


def _logits(subject: _Subject) -> _Found:
    gaps = []
    for pad in subject.pads:
        batch = subject.padded(pad)
        seen = subject.model.run(batch, capture=subject.inner, logits="all").logits
        gaps.append(_same_bits(_present(seen), subject.plain(batch)))
    return _Found(max(gaps), 0.0, "largest difference")


def _present(logits: Tensor | None) -> Tensor:
    assert logits is not None, "a run with logits gives logits"
    return logits


def _write_back(subject: _Subject) -> _Found:
    same = [edit.fn(site, torch.clone) for site in subject.inner if not site.startswith("attn_pattern")]
    logits = subject.model.run(subject.batch, edits=same, logits="all").logits
    return _Found(_same_bits(_present(logits), subject.plain(subject.batch)), 0.0, "largest difference")


def _stream(subject: _Subject) -> _Found:
    model, last = subject.model, subject.model.dims.layers - 1
    run = model.run(subject.batch, capture="resid_*", logits="all")
    pairs = [(run[f"resid_post.{i}"], run[f"resid_pre.{i + 1}"]) for i in range(last)]
    broken = [i for i, (a, b) in enumerate(pairs) if not torch.equal(a, b.to(a.device))]
    assert not broken, f"the output of layers {broken} is not the next layer's input"
    with torch.no_grad():
        unembedded = model.unembed(run[f"resid_post.{last}"].to(model.head.weight.device))
    return _Found(_error(_real(subject.batch, unembedded), _real(subject.batch, _present(run.logits))), subject.bound)


def _real(batch: Batch, x: Tensor) -> Tensor:
    """Values at real tokens [S, ...], wherever a sharded model has them."""
    return x[batch.attention_mask.bool().to(x.device)]


def _neurons(subject: _Subject) -> _Found:
    dense = [n for n in subject.sites("mlp_post") if subject.model.sites[n].tap.side == "input"]
    if not dense:
        raise _Skip("all its neurons are in experts")
    run = subject.model.run(subject.batch, capture=["mlp_post.*", "mlp_out.*"], logits=None)
    worst = 0.0
    for name in dense:
        site = subject.model.sites[name]
        down: Any = site.module
        with torch.no_grad():
            written = run[name] @ subject.model.value_vectors(_layer(site.layer))
            written = written if down.bias is None else written + down.bias
        worst = max(worst, _error(written, run[f"mlp_out.{site.layer}"]))
    return _Found(worst, subject.bound)


def _layer(layer: int | None) -> int:
    assert layer is not None, "sites of blocks have a layer"
    return layer


def _experts(subject: _Subject) -> _Found:
    model = subject.model
    mixed = [s for s in model.sites.values() if s.kind == "expert_weights"]
    if not mixed:
        raise _Skip("no experts behind Hugging Face's experts interface")
    worst = 0.0
    for site in mixed:
        gave: list[Tensor] = []
        handle = site.module.register_forward_hook(lambda _m, _a, out, gave=gave: gave.append(out))
        try:
            run = model.run(subject.batch, capture=[f"mlp_post.{site.layer}", site.name], logits=None)
        finally:
            handle.remove()
        worst = max(worst, _error(_weighed(model, site.module, run, _layer(site.layer)), gave[0].flatten(0, -2)))
    return _Found(worst, subject.bound)


def _weighed(model: Model, experts: Any, run: Any, layer: int) -> Tensor:
    """What the experts write, summed expert by expert: [S, D]."""
    if experts.has_post_expert_norm:
        raise _Skip("its experts norm what they write")
    neurons, weights = run[f"mlp_post.{layer}"].flatten(0, 1), run[f"expert_weights.{layer}"].flatten(0, 1)
    vectors = model.value_vectors(layer)
    total = neurons.new_zeros(len(neurons), vectors.shape[-1])
    with torch.no_grad():
        for e in weights.any(0).nonzero()[:, 0].tolist():
            written = neurons[:, e] @ vectors[e] + (experts.down_proj_bias[e] if experts.has_bias else 0.0)
            total += weights[:, e, None] * written
    return total


def _heads(subject: _Subject) -> _Found:
    names = subject.sites("attn_z")
    run = subject.model.run(subject.batch, capture=["attn_z.*", "attn_out.*"], logits=None)
    with torch.no_grad():
        pairs = [(subject.model.sites[n].module(run[n].flatten(2)), run[n.replace("_z", "_out")]) for n in names]
    return _Found(max(_error(a, b) for a, b in pairs), subject.bound)


def _attention(subject: _Subject) -> _Found:
    """Weights over the keys sum to 1 (to less with a sink), and none look ahead."""
    names = subject.sites("attn_pattern")
    run = subject.model.run(subject.batch, capture=names, logits=None)
    worst = 0.0
    for name in names:
        for i, row in enumerate(subject.rows):
            real = subject.batch.attention_mask[i].bool().to(run[name].device)
            pattern = run[name][i][real].float()  # [t, H, T]
            ahead = pattern.transpose(0, 1).triu(1).abs().max()
            over = (pattern.sum(-1) - 1).clamp(min=0).max()
            worst = max(worst, float(ahead), float(over), float(pattern[..., len(row) :].abs().sum()))
    return _Found(worst, max(4 * torch.finfo(subject.model.hf.dtype).eps, 1e-5), "weight too much or ahead")


def _padding(subject: _Subject) -> _Found:
    model, worst = subject.model, 0.0
    for pad in subject.pads:
        batch = subject.padded(pad)
        together = model.run(batch, capture="resid_post.*")
        for i, row in enumerate(subject.rows):
            alone = model.run(model.encode([row]), capture="resid_post.*")
            real = batch.attention_mask[i].bool()
            errors = [_error(together[s][i][real.to(together[s].device)], alone[s][0]) for s in alone]
            worst = max(worst, *errors, _error(_present(together.logits)[i], _present(alone.logits)[0]))
    if subject.pads == ("right",):
        return _Found(worst, subject.bound, "relative error (right only: left is refused)")
    return _Found(worst, subject.bound)


def _decoding(subject: _Subject) -> _Found:
    """Captures while generating, with an edit at a position that is prompt in one row and new text in another."""
    model = subject.model
    middle = f"resid_post.{model.dims.layers // 2}"
    scaled = [edit.scale(middle, 0.5, Where(pos=min(_LENGTHS) + 1))]
    made = model.generate(
        model.encode(subject.rows, pad="right"), capture="resid_post.*", edits=scaled, max_new_tokens=_NEW, eos=False
    )
    once = model.run(made.batch, capture="resid_post.*", edits=scaled, logits=None)
    errors = [_error(_real(made.batch, made.run[site]), _real(made.batch, once[site])) for site in once]
    return _Found(max(errors), subject.bound)


def _no_trace(subject: _Subject) -> _Found:
    model, before = subject.model, _fingerprint(subject.model)
    model.run(subject.batch, capture=subject.inner)

    def fail(_x: Tensor) -> Tensor:
        raise _Skip

    for site in (subject.inner[0], subject.inner[-1]):
        try:
            model.run(subject.batch, capture="*", edits=[edit.fn(site, fail)])
        except _Skip:
            continue
        raise AssertionError(f"an exception at {site} was swallowed")
    after = _fingerprint(model)
    return _Found(
        float(sum(a != b for a, b in zip(before, after, strict=True))), 0.0, "things changed", "nothing changed"
    )


def _fingerprint(model: Model) -> list[Any]:
    hf = model.hf
    modules = [(n, len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for n, m in hf.named_modules()]
    weights = [(name, p.data_ptr(), p._version) for name, p in hf.named_parameters()]
    modes = [torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_rng_state().tolist()]
    return [modules, weights, hf.config.to_dict(), hf.config._attn_implementation, *modes]


def _early_stop(subject: _Subject) -> _Found:
    model = subject.model
    with _counted(model) as ran:
        model.run(subject.batch, capture="resid_post.0", logits=None)
    return _Found(len(ran) - 1, 0, "blocks too many", f"1 of {model.dims.layers} blocks ran")


@contextmanager
def _counted(model: Model) -> Iterator[list[int]]:
    ran: list[int] = []
    handles = [
        b.register_forward_pre_hook(lambda _m, _a, i=i: ran.append(i))
        for i, b in enumerate([*model.blocks, model.head])
    ]
    try:
        yield ran
    finally:
        for handle in handles:
            handle.remove()


_PROMISES: dict[str, Callable[[_Subject], _Found]] = {
    "1 logits with hooks everywhere": _logits,
    "1 writing a value back": _write_back,
    "1 the stream, and its unembedding": _stream,
    "2 neurons × value vectors": _neurons,
    "2 experts' neurons × weights": _experts,
    "2 heads through the projection": _heads,
    "3 attention patterns": _attention,
    "4 a row alone = in a batch": _padding,
    "5 generating = one forward": _decoding,
    "6 nothing left behind": _no_trace,
    "7 stops early": _early_stop,
}
