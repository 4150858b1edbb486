"""Chains that a model has finished, laid out so that one forward pass shows every step of them again.

What is captured over a finished text equals what would have been captured while it was written, at the cost of one
forward pass. The token of step t stands at position P + t of its row, P being the prompt's tokens; the model chose it
at the position before. Everything behind the answer is cut off.

    for chains in finished(items, subject, batch_size):
        run = subject.model.run(chains.batch, capture=["mlp_post.3"], logits=None)
        m = chains.written(run["mlp_post.3"])  # [steps, neurons], a row for each of `chains.steps`
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import actkit
import polars as pl
import torch
from jaxtyping import Float, Int
from runkit.errors import UsageError
from torch import Tensor

from cot_neurons import chains, portraits
from cot_neurons.subject import Subject
from cot_neurons.tags import KINDS, Pieces

R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Chains:
    """A batch of finished chains, B rows and S steps in all.

    `rows`: the items' row numbers. `batch`: each row's prompt and chain, on the model's device. `steps`: row, step,
    token_id, token, tag, and kind (`tags.KINDS`, as an Enum) of each token that was written, row by row in the order of
    `rows`. `places`: row and column in the batch at which each was chosen.
    """

    rows: list[int]
    batch: actkit.Batch
    steps: pl.DataFrame
    places: tuple[Int[Tensor, " S"], Int[Tensor, " S"]]

    def written(self, values: Float[Tensor, "B T *n"]) -> Float[Tensor, "S *n"]:
        """What was captured where each step's token was chosen: one position before the token."""
        rows, columns = self.places
        return values[rows.to(values.device), columns.to(values.device)]

    def read(self, values: Float[Tensor, "B T *n"]) -> Float[Tensor, "S *n"]:
        """What was captured at each step's token itself, where the model reads what it wrote."""
        rows, columns = self.places
        return values[rows.to(values.device), columns.to(values.device) + 1]

    def within(self, room: actkit.Room, work: Callable[["Chains"], R]) -> list[R]:
        """What `work` makes of the batch, or, where it does not fit into memory, of its parts; see `actkit.Room`."""
        return room(range(len(self.rows)), lambda some: work(self._part(some[0], some[-1] + 1)))

    def _part(self, start: int, stop: int) -> "Chains":
        if stop - start == len(self.rows):
            return self
        row, column = self.places
        inside = (row >= start) & (row < stop)
        ids, mask = self.batch.input_ids[start:stop], self.batch.attention_mask[start:stop]
        width = int(mask.sum(1).max())
        batch = actkit.Batch(ids[:, :width], mask[:, :width])
        steps = self.steps.filter(pl.Series(inside.cpu().numpy()))
        return Chains(self.rows[start:stop], batch, steps, (row[inside] - start, column[inside]))


def finished(items: pl.DataFrame, subject: Subject, batch_size: int) -> list[Chains]:
    """The items' chains (table `items`) up to the end of their answers, in batches of rows of like length.

    Items for which nothing was generated have no steps, and are in no batch. Raises UsageError where all are so.
    """
    steps = chains.steps(
        items["row"].to_list(), items["new_ids"].to_list(), Pieces(subject.model.tokenizer), tail=False
    )
    if steps.is_empty():
        raise UsageError("the items hold no chain to look at: nothing was generated for any of them")
    names = pl.Series("kind", KINDS, dtype=pl.Enum(KINDS))
    steps = steps.with_columns(names.gather(portraits.kinds(steps)["kind"]))
    by_row = {row: chain for (row,), chain in steps.partition_by("row", as_dict=True).items()}
    prompts = {row: ids for row, ids in items.select("row", "prompt_ids").iter_rows() if row in by_row}
    rows = list(prompts)
    lengths = [len(prompts[row]) + len(by_row[row]) for row in rows]
    return [
        _chains([rows[i] for i in group], prompts, by_row, subject.model)
        for group in actkit.buckets(lengths, batch_size)
    ]


def _chains(
    rows: list[int], prompts: dict[int, list[int]], steps: dict[int, pl.DataFrame], model: actkit.Model
) -> Chains:
    ids = [prompts[row] + steps[row]["token_id"].to_list() for row in rows]
    # On the right, so that a column is a position; recurrent layers could not take padding before the text either.
    batch = model.encode(ids, pad="right")
    row = torch.cat([torch.full((len(steps[row]),), i) for i, row in enumerate(rows)])
    column = torch.cat([torch.arange(len(steps[row])) + len(prompts[row]) - 1 for row in rows])
    places = (row.to(batch.input_ids.device), column.to(batch.input_ids.device))
    return Chains(rows, batch, pl.concat([steps[row] for row in rows]), places)
