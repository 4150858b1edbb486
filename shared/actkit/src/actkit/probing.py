"""A family's row worked out from the model itself, for architectures that are not in the table.

1. The module tree gives candidates: the list of blocks, embedding and head, the attention's and the MLP's projections.
2. A short forward over random ids records what every module of every block is given and gives back.
3. Only what adds up in those numbers is taken: `resid_pre + attn_out = resid_mid`, `resid_mid + mlp_out = resid_post`,
   each block's output the next one's input, `unembed(last stream) = logits`. The rest is left out, with the reason.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from actkit.behaviour import is_causal, minds_left_padding, plain, random_ids
from actkit.errors import UnknownFamily
from actkit.families import Family, Paths
from actkit.hooks import undisturbed

_TOKENS = 8
_NOT_ATTENTION = re.compile(r"linear|lightning|delta|mamba|ssm|conv|recurrent|rwkv|norm|layer", re.IGNORECASE)


class Probed(NamedTuple):
    """A row that was worked out, and how sure each of its facts is, in words."""

    family: Family
    verified: tuple[str, ...]
    unverified: tuple[str, ...]


class _Seen(NamedTuple):
    """What one module was given and gave back, flattened to [tokens, width]."""

    path: str
    module: nn.Module
    given: Tensor
    gave: Tensor
    overwritten: Callable[[], bool]


class _Layer(NamedTuple):
    """What was found in one block; paths are relative to it."""

    attn_proj: str | None = None
    attn: str | None = None
    mlp_down: str | None = None
    mlp: str | None = None
    experts: str | None = None
    resid_mid: str | None = None
    adds_up: str | None = None
    """How the stream was seen to add up, or None."""
    overwrites: frozenset[str] = frozenset()


def probe(hf: PreTrainedModel) -> Probed:
    """Work out where a causal LM keeps its parts, by its module tree and forwards over eight random ids.

    Leaves the model as it was. Raises UnknownFamily where not even blocks, embedding and head can be told, and for a
    model whose tokens see later ones.
    """
    blocks, ids = _block_list(hf), random_ids(hf, _TOKENS)
    seen, logits = _record(hf, blocks, ids)
    with undisturbed(hf):
        if not is_causal(hf, ids, logits):
            raise UnknownFamily(f"{type(hf).__name__} is not causal: another last token changes the logits before it.")
        leaks = minds_left_padding(hf, ids, logits)
    stack = hf.get_submodule(blocks)
    layers = [_layer(seen, f"{blocks}.{i}") for i in range(len(list(stack.children())))]
    probed = _assembled(hf, blocks, layers, seen, logits)
    good = ("causal: another last token leaves the logits before it as they are", *probed.verified)
    if not leaks:
        return probed._replace(verified=(*good, "left padding: masked slots before a row change nothing"))
    reason = "in a test forward, masked slots before a row changed its logits"
    family = replace(probed.family, refuses={**probed.family.refuses, "left_padding": reason})
    return Probed(family, good, (*probed.unverified, f"left padding: refused, {reason}"))


def probed_family(hf: PreTrainedModel) -> Family:
    """The row `probe` works out, with a warning that names what could not be verified."""
    probed = probe(hf)
    doubts = "".join(f"\n- {line}" for line in probed.unverified) or "\n- nothing"
    warnings.warn(
        f"actkit has no row for the architecture {hf.config.model_type!r}; its parts were found by a test forward. "
        f"Could not be verified:{doubts}\n`actkit check` runs every promise on this very model.",
        stacklevel=3,
    )
    return probed.family


def _block_list(hf: nn.Module) -> str:
    """The longest list of like modules that is not itself inside such a list."""
    lists = [(name, m) for name, m in hf.named_modules() if isinstance(m, nn.ModuleList) and len(m)]
    outer = [(n, m) for n, m in lists if not any(n.startswith(f"{other}.") for other, _ in lists)]
    if not outer:
        raise UnknownFamily(f"No list of decoder blocks can be told in {type(hf).__name__}.")
    return max(outer, key=lambda pair: sum(p.numel() for p in pair[1].parameters()))[0]


def _record(hf: Any, blocks: str, ids: Int[Tensor, "1 T"]) -> tuple[dict[str, _Seen], Tensor]:
    """Module path -> what it was given and gave, in order of completion, and the logits."""
    seen: dict[str, _Seen] = {}
    with undisturbed(hf), _recorders(hf, blocks, seen):
        logits = plain(hf, ids)
        for path in list(seen):
            seen[path] = seen[path]._replace(overwritten=bool(seen[path].overwritten()).__bool__)
    return seen, logits


@contextmanager
def _recorders(hf: nn.Module, blocks: str, seen: dict[str, _Seen]) -> Iterator[None]:
    given: dict[str, Tensor] = {}

    def before(path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if (x := _stream([kwargs.get("hidden_states"), *args, *kwargs.values()])) is not None:
                given[path] = _flat(x).clone()

        return hook

    def after(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, _args: Any, output: Any) -> None:
            y = _stream(output if isinstance(output, tuple | list) else [output])
            if y is not None and path in given:
                copy = _flat(y).clone()
                seen[path] = _Seen(path, module, given[path], copy, lambda: not torch.equal(_flat(y), copy))

        return hook

    handles: list[Any] = []
    try:
        for path, module in hf.named_modules():
            if path and path != blocks:
                handles.append(module.register_forward_pre_hook(before(path), with_kwargs=True))
                handles.append(module.register_forward_hook(after(path)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _stream(values: Sequence[Any]) -> Tensor | None:
    return next((v for v in values if isinstance(v, Tensor) and v.is_floating_point() and v.dim() >= 2), None)


def _flat(x: Tensor) -> Tensor:
    return x.detach().reshape(-1, x.shape[-1])


def is_sum(total: Tensor, start: Tensor, *parts: Tensor) -> bool:
    """Whether `total = start + c * sum(parts)` for some number c (families scale what is added), up to rounding."""
    if any(x.shape != total.shape for x in (start, *parts)):
        return False
    change, part = (total - start).double(), torch.stack(parts).double().sum(0)
    size = float(part.norm())
    slack = 1e-4 * size + 8 * torch.finfo(total.dtype).eps * float(total.double().norm())
    if size == 0 or slack > 0.2 * size:
        return False
    scale = float((change * part).sum()) / size**2
    return abs(scale) > 1e-3 and float((change - scale * part).norm()) <= slack


def _same(a: Tensor, b: Tensor) -> bool:
    """Equal up to rounding."""
    slack = 1e-5 + 8 * torch.finfo(a.dtype).eps
    return a.shape == b.shape and float((a - b).double().norm()) <= slack * float(b.double().norm())


def _layer(seen: dict[str, _Seen], root: str) -> _Layer:
    """What adds up in one block."""
    block = seen.get(root)
    if block is None:
        return _Layer()
    inside = {p[len(root) + 1 :]: s for p, s in seen.items() if p.startswith(f"{root}.")}
    attn = _attention(inside)
    attn_proj = None if attn is None else _projection(inside, attn, block.gave.shape)
    experts = next((p for p, s in inside.items() if _holds_experts(s.module)), None)
    found = _Layer(attn_proj=attn_proj, attn=attn, experts=experts)
    found = found._replace(**_streams(inside, block, found))
    mlp = inside.get(found.mlp or "")
    down = None if found.mlp is None or experts else _projection(inside, found.mlp, block.gave.shape)
    if down and mlp and not _same(inside[down].gave, mlp.gave):
        down = None
    overwritten = {
        kind
        for kind, path in (("attn_out", attn_proj), ("mlp_out", found.mlp))
        if path in inside and inside[path].overwritten()
    }
    return found._replace(mlp_down=down, overwrites=frozenset(overwritten))


def _attention(inside: dict[str, _Seen]) -> str | None:
    """The outermost module that is called attention, by its name or its class."""
    for path in sorted(inside, key=lambda p: p.count(".")):
        name = f"{path.rpartition('.')[2]} {type(inside[path].module).__name__}"
        if re.search(r"attn|attention", name, re.IGNORECASE) and not _NOT_ATTENTION.search(name):
            return path
    return None


def _projection(inside: dict[str, _Seen], path: str, shape: torch.Size) -> str | None:
    """The last linear map at or under `path` that gives what all of it gives, perhaps before a factor."""
    linear = [
        p for p, s in inside.items()
        if (p == path or p.startswith(f"{path}.")) and is_linear(s.module) and s.gave.shape == shape
    ]  # fmt: skip
    whole = inside[path].gave
    return next((p for p in reversed(linear) if _proportional(inside[p].gave, whole)), None)


def is_linear(module: Any) -> bool:
    """A matrix that a [*, in] tensor is multiplied with: Linear, Conv1D and their quantised and custom kin."""
    weight = getattr(module, "weight", None)
    return isinstance(module, nn.Linear | Conv1D) or (
        isinstance(weight, Tensor) and weight.dim() == 2 and not isinstance(module, nn.Embedding)
    )


def _holds_experts(module: nn.Module) -> bool:
    named = "expert" in type(module).__name__.lower()
    return named and sum(p.dim() == 3 for p in module.parameters(recurse=False)) >= 2


def _streams(inside: dict[str, _Seen], block: _Seen, found: _Layer) -> dict[str, str | None]:
    """How the block's output adds up: two writes one after the other, two at once, or a single one."""
    pre, post = block.given, block.gave
    order = list(inside)
    writers = {p: s.gave for p, s in inside.items() if s.gave.shape == post.shape}
    mids = [p for p, s in inside.items() if s.given.shape == pre.shape and not _same(s.given, pre)]
    for mid in sorted(mids, key=lambda p: (p.count("."), order.index(p))):
        stream = inside[mid].given
        first = next((p for p in writers if is_sum(stream, pre, writers[p])), None)
        second = next((p for p in reversed(writers) if is_sum(post, stream, writers[p])), None)
        if first and second:
            mlp = _source(inside, second, found)
            said = f"resid_pre + {first} = input of {mid}; + {second} = output"
            # Some attention modules add the stream themselves: what they write is then their projection's output.
            inside_attn = found.attn is not None and first.startswith(f"{found.attn}.")
            own = {"attn_proj": first} if inside_attn and is_linear(inside[first].module) else {}
            return {"resid_mid": mid, "mlp": mlp, "adds_up": said, **own}
    if found.attn_proj:
        attn = writers[found.attn_proj]
        for path in writers:
            if not _same(writers[path], attn) and is_sum(post, pre, attn, writers[path]):
                mlp = _source(inside, path, found)
                return {"mlp": mlp, "adds_up": f"resid_pre + {found.attn_proj} + {path} = output"}
    alone = next((p for p in writers if is_sum(post, pre, writers[p])), None)
    return {"adds_up": f"resid_pre + {alone} = output"} if alone else {}


def _source(inside: dict[str, _Seen], path: str, found: _Layer) -> str:
    """The outermost module that gives what `path` gives; behind a norm, what that norm was given."""
    gave = inside[path].gave
    if not _holds_weights(inside[path].module):
        behind = [p for p, s in inside.items() if p != path and _same(s.gave, inside[path].given)]
        gave = inside[behind[0]].gave if behind else gave
    same = [p for p, s in inside.items() if s.gave.shape == gave.shape and _same(s.gave, gave)]
    attn = found.attn or ""
    rest = [p for p in same if _holds_weights(inside[p].module) and not (attn and p.startswith(attn))]
    return min(rest, key=lambda p: p.count("."), default=path)


def _holds_weights(module: nn.Module) -> bool:
    """Whether there is a matrix in it: norms and activation functions have none."""
    return any(p.dim() > 1 for p in module.parameters())


def _assembled(hf: Any, blocks: str, layers: list[_Layer], seen: dict[str, _Seen], logits: Tensor) -> Probed:
    """The row, and what is known of each of its facts."""
    names = {id(module): name for name, module in hf.named_modules()}
    head, embed = hf.get_output_embeddings(), names[id(hf.get_input_embeddings())]
    if head is None:
        head = next((m for m in reversed(list(hf.children())) if is_linear(m)), None)
    if head is None or not all(f"{blocks}.{i}" in seen for i in range(len(layers))):
        raise UnknownFamily(f"The parts of {type(hf).__name__} cannot be told: no head, or blocks that never ran.")
    good, bad = _chained(blocks, layers, seen)
    norm, scale, cap, said = _unembedding(hf, names[id(head)], seen[f"{blocks}.{len(layers) - 1}"].gave, seen, logits)
    (good if said.startswith("logits") else bad).append(said)
    refuses: dict[str, str] = {}
    for fact, kinds in _KINDS.items():
        if not any(getattr(layer, fact) for layer in layers):
            refuses |= dict.fromkeys(kinds, "no module was found that can be verified to hold it")
    if any(layer.experts for layer in layers):
        refuses.pop("mlp_post", None)
    for kinds in refuses:
        bad.append(f"{kinds}: left out, {refuses[kinds]}")
    for i, layer in enumerate(layers):
        (good if layer.adds_up else bad).append(f"layer {i}: {layer.adds_up or 'how its output adds up is not known'}")
    family = Family(
        name=type(hf).__name__,
        model_type=hf.config.model_type,
        blocks=blocks,
        embed=embed,
        head=names[id(head)],
        final_norm=norm,
        norm_offset=_offset(norm, seen),
        logit_scale=None if scale == 1 else _constant(scale),
        softcap=cap,
        attn_proj=_paths(layer.attn_proj for layer in layers),
        attn=_paths(layer.attn for layer in layers),
        mlp_down=_paths(layer.mlp_down for layer in layers),
        mlp=_paths(layer.mlp for layer in layers),
        experts=next((layer.experts for layer in layers if layer.experts), None),
        resid_mid=_paths(layer.resid_mid for layer in layers),
        overwrites=frozenset().union(*(layer.overwrites for layer in layers)),
        refuses=refuses,
    )
    return Probed(family, tuple(good), tuple(bad))


_KINDS = {
    "attn_proj": ("attn_z", "attn_out"),
    "resid_mid": ("resid_mid",),
    "mlp_down": ("mlp_post",),
    "mlp": ("mlp_out",),
}


def _chained(blocks: str, layers: list[_Layer], seen: dict[str, _Seen]) -> tuple[list[str], list[str]]:
    """Whether each block's output is the next one's input."""
    stream = [seen[f"{blocks}.{i}"] for i in range(len(layers))]
    broken = [i for i, (a, b) in enumerate(pairwise(stream)) if not torch.equal(a.gave, b.given)]
    if broken:
        return [], [f"blocks: {blocks}, but the output of {broken} is not the next one's input"]
    return [f"blocks: {blocks}, each one's output is the next one's input"], []


def _unembedding(
    hf: Any, head: str, last: Tensor, seen: dict[str, _Seen], logits: Tensor
) -> tuple[str | None, float, str | None, str]:
    """Final norm, factor on the head's output, config field of the soft cap; in words, whether they give the logits."""
    read, gave = seen[head].given, seen[head].gave
    norms = [p for p, s in seen.items() if _same(s.given, last) and _proportional(read, s.gave) and p != head]
    norm = norms[-1] if norms and not _proportional(read, last) else None
    start = seen[norm].gave if norm else last
    if not _proportional(read, start):
        return None, 1.0, None, "the final norm: no module gives what the head reads"
    before = _factor(read, start)
    path = f"{head}({norm or ''}(last stream))"
    caps = [
        None,
        *(f for f, v in vars(hf.config).items() if "cap" in f and "attn" not in f and isinstance(v, float)),
    ]
    for cap in caps:
        c = getattr(hf.config, cap) if cap else None
        raw = logits if c is None else torch.atanh((logits.double() / c).clamp(-1, 1)) * c
        if _proportional(raw.to(gave), gave):
            scale = _factor(raw.to(gave), gave) * before
            scale = 1.0 if abs(scale - 1) < 1e-3 else scale
            times = f" times {scale:.6g}" if scale != 1 else ""
            return norm, scale, cap, f"logits: equal to {path}{times}{f', soft-capped at {c}' if cap else ''}"
    return norm, 1.0, None, f"the logits: not {path} times a number or under a soft cap"


def _factor(a: Tensor, b: Tensor) -> float:
    return float((a.double() * b.double()).sum() / b.double().square().sum().clamp(min=1e-30))


def _proportional(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and _same(a, b * _factor(a, b))


def _offset(norm: str | None, seen: dict[str, _Seen]) -> float:
    """What is added to the final norm's weight before it multiplies: 1 in Gemma and its kin, else 0."""
    weight = None if norm is None else getattr(seen[norm].module, "weight", None)
    if norm is None or weight is None:
        return 0.0
    x = seen[norm].given.double()
    bias = getattr(seen[norm].module, "bias", None)
    y = seen[norm].gave.double() - (0 if bias is None else bias.detach().double())
    fits = {}
    for offset in (0.0, 1.0):
        for z in (x, x - x.mean(-1, keepdim=True)):
            guess = z / z.square().mean(-1, keepdim=True).sqrt() * (weight.detach().double() + offset)
            fits[float((guess - y).norm())] = offset
    return fits[min(fits)]


def _constant(value: float) -> Callable[[Any], float]:
    return lambda _config: value


def _paths(found: Iterable[str | None]) -> Paths:
    """One path, or the alternatives in order of appearance."""
    paths = tuple(dict.fromkeys(path for path in found if path))
    return paths[0] if len(paths) == 1 else paths or None
