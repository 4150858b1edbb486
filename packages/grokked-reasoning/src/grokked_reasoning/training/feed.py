"""The training rows on the device, and which of them each step takes."""

import torch
from jaxtyping import Int
from torch import Tensor

from grokked_reasoning.dataset import Rows

IGNORED = -100


class Feed:
    """Rows resident on a device, in an endless shuffled stream: every epoch each row once, in an order of its own.

    Which rows step k takes depends on the seed and k only; batches run over the ends of epochs, so all have one size.

    ids: [N, T], what is put in, up to the last token that one is predicted from; places: [N, A], where an answer token
    is predicted; targets: [N, A], that token, or -100 where a row has fewer.
    """

    def __init__(self, rows: Rows, size: int, seed: int, device: torch.device) -> None:
        start, length = torch.from_numpy(rows.start).long(), torch.from_numpy(rows.length).long()
        table = torch.from_numpy(rows.ids)
        steps = torch.arange(int(length.max()))
        at = (start[:, None] + steps).clamp(max=table.shape[1] - 1)
        targets = table.gather(1, at).long().masked_fill(steps >= length[:, None], IGNORED)
        self.ids = table[:, : int((start + length).max()) - 1].to(device)
        self.places, self.targets = (at - 1).to(device), targets.to(device)
        self.size, self._seed, self._device = size, seed, device
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def __len__(self) -> int:
        return len(self.ids)

    def epoch(self, step: int) -> float:
        """Passes over the rows before this step."""
        return step * self.size / len(self)

    def batch(
        self, step: int, rank: int = 0, world: int = 1
    ) -> tuple[Int[Tensor, "b T"], Int[Tensor, "b A"], Int[Tensor, "b A"]]:
        """Ids, places and targets of a step's batch, or of this process's share of it."""
        share = self.size // world
        first = step * self.size + rank * share
        chosen = self._rows(first, share)
        return self.ids[chosen].long(), self.places[chosen], self.targets[chosen]

    def _rows(self, first: int, count: int) -> Int[Tensor, " b"]:
        epoch, place = divmod(first, len(self))
        head = self._shuffled(epoch)[place : place + count]
        if len(head) == count:
            return head
        return torch.cat([head, self._rows((epoch + 1) * len(self), count - len(head))])

    def _shuffled(self, epoch: int) -> Int[Tensor, " N"]:
        if epoch != self._epoch:
            source = torch.Generator().manual_seed(mixed(self._seed, epoch))
            self._order = torch.randperm(len(self), generator=source).to(self._device)
            self._epoch = epoch
        return self._order


def mixed(seed: int, number: int) -> int:
    """A seed for the `number`-th use of `seed` (a round of splitmix64)."""
    x = (seed * 0x9E3779B97F4A7C15 + number + 1) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    return (x ^ (x >> 31)) & 0x7FFFFFFFFFFFFFFF
