"""One layer at a time, what its neurons wrote towards the token that was written next.

The last stream is the sum of what all parts wrote, and the logit is linear in it once the final norm's scale is held at
its actual value (Elhage et al. 2021). Two forward passes: the first for the last stream, which says in which direction
each step's token lies; the second shows the layers, of which one at a time is in memory.
"""

from collections.abc import Callable, Iterable
from contextvars import Context
from dataclasses import dataclass

import torch
from actkit import Model
from actkit.frozen import branch
from jaxtyping import Float, Int
from runkit.errors import UsageError
from torch import Tensor

from cot_neurons.attributions.readout import Readout
from cot_neurons.finished import Chains


@dataclass(frozen=True)
class Layer:
    """A layer's MLP at the S steps of some chains, in float32 or better.

    `m`: activations. `stream`: what enters the block of the MLP. `direction`: the written token's logit pulled back to
    the MLP's output. `write`: [S, D] in the MLP's output -> what that adds to the stream.
    """

    number: int
    m: Float[Tensor, "S N"]
    stream: Float[Tensor, "S D"]
    direction: Float[Tensor, "S D"]
    write: Callable[[Tensor], Tensor]


class Layers:
    """Shows each of the given layers of a batch of chains to a function, first to last."""

    def __init__(self, model: Model, readout: Readout, layers: Iterable[int]) -> None:
        self._model, self._readout = model, readout
        kinds = ("resid_pre", "resid_mid", "attn_out", "mlp_post", "mlp_out", "resid_post")
        named = (f"{kind}.{layer}" for layer in layers for kind in kinds)
        self._sites = [name for name in named if name in model.sites]
        self._last = f"resid_post.{model.dims.layers - 1}"

    def __call__(self, chains: Chains, rows: Float[Tensor, "S D"], look: Callable[[Layer], None]) -> None:
        """`rows`: the direction of each step's token in the normed stream, see `Readout.rows`.

        Raises UsageError where what an MLP writes is not added to the stream.
        """
        last = chains.written(self._model.run(chains.batch, capture=self._last, logits=None)[self._last])
        directions = self._readout.directions(last.to(self._readout.dtype), rows.to(last.device))
        seen: dict[str, Tensor] = {}

        def keep(site: str, x: Tensor) -> None:
            kind, _, layer = site.partition(".")
            seen[kind] = chains.written(x).to(self._readout.dtype)
            if kind == "resid_post":
                # In a context of its own, where this pass's hooks keep silent when the block's norms are run again.
                Context().run(lambda: look(self._layer(int(layer), seen, directions)))
                seen.clear()

        if self._sites:
            self._model.run(chains.batch, capture=self._sites, logits=None, on_capture=keep)

    def _layer(self, number: int, seen: dict[str, Tensor], directions: Float[Tensor, "S D"]) -> Layer:
        post, out = seen["resid_post"], seen["mlp_out"]
        stream = seen.get("resid_mid", seen["resid_pre"]).to(post)
        written = post - stream
        if "resid_mid" not in seen and "attn_out" in seen:  # attention and MLP write side by side
            written = written - seen["attn_out"]
        model = self._model
        back = branch(model.blocks[number], out, written, post.norm(), model.hf.dtype)
        if back is None:
            raise UsageError(
                f"mlp_out.{number} of {model.family.name} is not added to the stream, neither as it is nor times a "
                "number or through a norm, so its logits are no sum of what neurons write: attribute cannot say"
            )
        return Layer(number, seen["mlp_post"], stream, back(directions.to(post)), _transposed(back, post))


def _transposed(back: Callable[[Tensor], Tensor], like: Float[Tensor, "S D"]) -> Callable[[Tensor], Tensor]:
    """A linear map, given what it does to directions; its own derivative is what it does to vectors."""
    with torch.enable_grad():
        direction = torch.zeros_like(like, requires_grad=True)
        out = back(direction)
    return lambda vectors: torch.autograd.grad(out, direction, vectors, retain_graph=True)[0]


def token_rows(readout: Readout, chains: Iterable[Chains]) -> Callable[[Chains], Float[Tensor, "S D"]]:
    """For chains among these, the direction of each step's token; every token's is computed once."""
    ids = sorted({int(i) for some in chains for i in some.steps["token_id"].unique()})
    rows = readout.rows(torch.tensor(ids))
    place = {token: i for i, token in enumerate(ids)}
    return lambda some: rows[_places(some, place).to(rows.device)]


def _places(chains: Chains, place: dict[int, int]) -> Int[Tensor, " S"]:
    return torch.tensor([place[token] for token in chains.steps["token_id"]])
