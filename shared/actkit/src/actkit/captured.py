"""What a forward pass was asked to show, by site name."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from actkit.batch import Batch
from actkit.errors import ActkitError, NotCaptured
from actkit.gradients import Metric, gradients
from actkit.html import table_html
from actkit.tokens import readable

_COLUMNS = ("site", "shape", "dtype", "device", "MB")


class Origin(NamedTuple):
    """What a run remembers of its model, without keeping its weights alive: how to name it and to read its tokens."""

    family: str = ""
    tokenizer: PreTrainedTokenizerBase | None = None

    def tokens(self, batch: Batch, row: int) -> list[str]:
        """See `Run.tokens`."""
        if not -len(batch) <= row < len(batch):
            raise ActkitError(f"The batch has rows 0 to {len(batch) - 1}, not {row}.")
        return readable(self.tokenizer, batch.ids[row])


_NOWHERE = Origin()


class Run(Mapping[str, Tensor]):
    """Captured activations by site name, each [B, T, ...], in forward order. `print(run)` lists them.

    `batch`: the tokens. `logits`: [B, V] at each row's last real token ("last"), [B, T, V] ("all"), or None.
    Values at padding slots mean nothing. Made with `grad=True`, every value is a node of the graph that leads to the
    logits: `grads` or `torch.autograd.grad` differentiate with respect to it.
    """

    def __init__(
        self,
        values: dict[str, Tensor],
        batch: Batch,
        logits: Float[Tensor, "..."] | None = None,
        origin: Origin = _NOWHERE,
    ) -> None:
        self._values = values
        self.batch = batch
        self.logits = logits
        self.origin = origin

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._values:
            raise NotCaptured(f"This run did not capture {name!r}; it has {', '.join(self._values) or 'nothing'}.")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def grads(self, metric: Metric) -> dict[str, Tensor]:
        """Gradient of a metric with respect to every captured activation, by site, in one backward pass.

        `metric`: a function of `logits`, such as `actkit.logit(token)`, or a tensor computed from the run's own
        values; one number, or [B] with one per row, which are summed: rows do not see each other, so each row's
        gradient is that of its own number. Can be called again with another metric.

        A site that comes after everything the metric depends on has gradient 0, and gets zeros. Parameters collect no
        `.grad`. Raises ActkitError for a run made without `grad=True`, a function when the run has no logits, a
        metric of another shape, and one that depends on none of the captured sites.
        """
        return gradients(self._values, self.logits, metric)

    def tokens(self, row: int = 0) -> list[str]:
        """The row's real tokens as readable text, leading space kept; `<id>` where the model has no tokenizer."""
        return self.origin.tokens(self.batch, row)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {list(value.shape)}" for name, value in self.items())
        return f"Run({shapes or 'nothing captured'})"

    def __str__(self) -> str:
        lines = [_COLUMNS, *self._lines()]
        widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
        body = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([self._head(), *(f"  {line}".rstrip() for line in body)])

    def _repr_html_(self) -> str:
        return str(table_html(_COLUMNS, self._lines(), title=self._head()))

    def _head(self) -> str:
        rows, width = self.batch.input_ids.shape
        lengths = sorted(set(self.batch.lengths.tolist()))
        real = f" ({lengths[0]} to {lengths[-1]} real)" if lengths != [width] else ""
        graph = ", with graph" if any(value.requires_grad for value in self.values()) else ""
        name = f"Run of {self.origin.family}" if self.origin.family else "Run"
        return f"{name}: {rows} row{'s' * (rows != 1)} × {width} tokens{real}, {_mb(*self.values())} MB captured{graph}"

    def _lines(self) -> list[tuple[str, ...]]:
        """One line per kind of site and look, its layers as ranges, and one for the logits."""
        groups: dict[tuple[str, ...], dict[str, Tensor]] = {}
        for name, value in self.items():
            groups.setdefault((name.partition(".")[0], *_facts(value)), {})[name.partition(".")[2]] = value
        lines = [
            (f"{kind}.{_ranges(by_layer)}".rstrip("."), *looks, _mb(*by_layer.values()))
            for (kind, *looks), by_layer in groups.items()
        ]
        return (
            lines if self.logits is None else [*lines, ("logits (given back)", *_facts(self.logits), _mb(self.logits))]
        )


def _facts(value: Tensor) -> tuple[str, str, str]:
    return str(list(value.shape)), str(value.dtype).removeprefix("torch."), str(value.device)


def _mb(*values: Tensor) -> str:
    return f"{sum(value.nbytes for value in values) / 1e6:,.2f}"


def _ranges(layers: Iterable[str]) -> str:
    """`0–3,7` for layers 0, 1, 2, 3 and 7; nothing for a site that has no layer."""
    numbers = sorted(int(layer) for layer in layers if layer)
    stretches = [[n for _, n in some] for _, some in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
    return ",".join(f"{some[0]}–{some[-1]}" if len(some) > 1 else str(some[0]) for some in stretches)
