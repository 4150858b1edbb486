"""Two models over the same tokens: how alike are their neurons. Sums are streamed; no activations are kept."""

import actkit
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from runkit.progress import track
from torch import Tensor

from grokked_reasoning.emerging import series
from grokked_reasoning.emerging.watched import Piece, Watched

POLARITIES = ("+", "-")
_AT_ONCE = 2048  # tokens that are in float64 at a time
_STILL = 1e-6  # spread beside the mean that is rounding, not activity


class Moments:
    """Sums over tokens of a layer's activations in a model (x) and in the finished one (y), as each polarity has them.

    Means and centred sums are merged batch by batch (Chan et al. 1983), in float64, so neither large means nor the
    number of tokens cost accuracy. `strangers`: for each neuron another one of the layer. All are [2, N]; the first
    row is "+".
    """

    def __init__(self, strangers: Int[Tensor, " N"]) -> None:
        self.strangers = strangers
        zero = torch.zeros(2, len(strangers), dtype=torch.float64, device=strangers.device)
        self.n = 0
        self.mean_x, self.mean_y, self.xx, self.yy, self.xy, self.xs, self.fires = (zero.clone() for _ in range(7))

    def add(self, x: Float[Tensor, "P N"], y: Float[Tensor, "P N"]) -> None:
        """Some tokens more."""
        for here, there in zip(x.split(_AT_ONCE), y.split(_AT_ONCE), strict=True):
            self.merge(self._of(_rectified(here), _rectified(there)))

    def merge(self, other: "Moments") -> None:
        """The tokens of another one of the same neurons."""
        total = max(1, self.n + other.n)
        weight, share = self.n * other.n / total, other.n / total
        dx, dy = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        self.xx += other.xx + weight * dx * dx
        self.yy += other.yy + weight * dy * dy
        self.xy += other.xy + weight * dx * dy
        self.xs += other.xs + weight * dx * dy[..., self.strangers]
        self.mean_x += share * dx
        self.mean_y += share * dy
        self.fires += other.fires
        self.n += other.n

    def _of(self, x: Float[Tensor, "2 P N"], y: Float[Tensor, "2 P N"]) -> "Moments":
        """Of these tokens alone."""
        made = Moments(self.strangers)
        made.n, made.fires = x.shape[1], (y > 0).sum(1).double()
        made.mean_x, made.mean_y = x.mean(1), y.mean(1)
        x, y = x - made.mean_x[:, None], y - made.mean_y[:, None]
        made.xx, made.yy, made.xy = (x * x).sum(1), (y * y).sum(1), (x * y).sum(1)
        made.xs = (x * y[..., self.strangers]).sum(1)
        return made

    def alike(self) -> Float[Tensor, "2 N"]:
        """Pearson correlation of each neuron with itself in the finished model; NaN where one does not vary."""
        return self._pearson(self.xy, self.yy, self._still_y())

    def strange(self) -> Float[Tensor, "2 N"]:
        """The same with its stranger; NaN also where a layer has one neuron only."""
        found = self._pearson(self.xs, self.yy[:, self.strangers], self._still_y()[:, self.strangers])
        return found if len(self.strangers) > 1 else torch.full_like(found, torch.nan)

    def active(self) -> Float[Tensor, "2 N"]:
        """Share of tokens at which it fires in the finished model."""
        return self.fires / self.n

    def _still_y(self) -> Bool[Tensor, "2 N"]:
        return self.yy <= self.n * (_STILL * self.mean_y) ** 2

    def _pearson(
        self, both: Float[Tensor, "2 N"], there: Float[Tensor, "2 N"], still: Bool[Tensor, "2 N"]
    ) -> Float[Tensor, "2 N"]:
        still = still | (self.xx <= self.n * (_STILL * self.mean_x) ** 2)
        # Two roots, because a product of two small sums would be 0.
        return (both / self.xx.sqrt() / there.sqrt()).clamp(-1, 1).masked_fill(still, torch.nan)


def strangers(model: actkit.Model, seed: int) -> dict[int, Int[Tensor, " N"]]:
    """By layer, for each neuron another one of the layer, drawn at random: one cycle through all of them."""
    found = {}
    for layer in series.layers(model):
        order = np.random.default_rng([seed, layer]).permutation(model.value_vectors(layer).shape[0])
        other = np.empty_like(order)
        other[order] = np.roll(order, 1)
        found[layer] = torch.as_tensor(other).to(model.device)
    return found


def activations(
    model: actkit.Model,
    finished: actkit.Model,
    seen: Watched,
    others: dict[int, Int[Tensor, " N"]],
    room: actkit.Room,
) -> dict[int, Moments]:
    """Moments by layer, over the tokens watched. Of one batch the finished model's activations are held."""
    found = {layer: Moments(each) for layer, each in others.items()}
    for group in track(seen.groups, "batches", len(seen.groups)):
        for part in room(group, lambda some: _of_batch(model, finished, seen.piece(some), others)):
            for layer, each in part.items():
                found[layer].merge(each)
    return found


@torch.no_grad()
def _of_batch(
    model: actkit.Model, finished: actkit.Model, piece: Piece, others: dict[int, Int[Tensor, " N"]]
) -> dict[int, Moments]:
    batch, places = piece.batch.to(model.device), piece.places.to(model.device)
    found = {layer: Moments(each) for layer, each in others.items()}
    theirs: dict[str, Tensor] = {}

    def keep(site: str, x: Float[Tensor, "B T N"]) -> None:
        theirs[site] = x.flatten(0, 1).index_select(0, places)

    def add(site: str, x: Float[Tensor, "B T N"]) -> None:
        found[int(site.rpartition(".")[2])].add(x.flatten(0, 1).index_select(0, places), theirs.pop(site))

    finished.run(batch, capture="mlp_post.*", logits=None, on_capture=keep)
    model.run(batch, capture="mlp_post.*", logits=None, on_capture=add)
    return found


@torch.no_grad()
def writing(
    model: actkit.Model, finished: actkit.Model, layer: int, others: Int[Tensor, " N"]
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Cosine of each neuron's value vector with its own in the finished model, and with its stranger's; NaN where a
    vector is 0, or a layer has one neuron only."""
    here, there = (each.value_vectors(layer).double() for each in (model, finished))
    strange = _cosine(here, there[others])
    return _cosine(here, there), strange if len(others) > 1 else torch.full_like(strange, torch.nan)


def _cosine(a: Float[Tensor, "N D"], b: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
    return (a / a.norm(dim=-1, keepdim=True) * (b / b.norm(dim=-1, keepdim=True))).sum(-1).clamp(-1, 1)


def _rectified(x: Float[Tensor, "P N"]) -> Float[Tensor, "2 P N"]:
    return torch.stack([x.clamp(min=0), (-x).clamp(min=0)]).double()
