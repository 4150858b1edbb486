"""Pages and pieces of pages that need no network: they open from disk and in a notebook, light or dark."""

import math
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actkit.errors import ActkitError
from actkit.tokens import visible


class Html:
    """A piece of HTML. A notebook shows it, `str` gives its source, `save` writes a page that opens from disk."""

    def __init__(self, source: str, title: str = "") -> None:
        self._source = source
        self._title = title

    def _repr_html_(self) -> str:
        return self._source

    def __str__(self) -> str:
        return self._source

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a whole page, self-contained, and return its path."""
        head = f'<meta charset="utf-8"><title>{escape(self._title or "actkit")}</title>{_PAGE}'
        path = Path(path)
        path.write_text(
            f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{self._source}</body></html>\n', "utf-8"
        )
        return path


def table_html(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> Html:
    """A plain table under its title."""
    head = "".join(f'<th style="text-align:left">{escape(name)}</th>' for name in columns)
    cells = (f'<td style="text-align:left">{escape(cell)}</td>' for row in rows for cell in row)
    body = "".join(f"<tr>{''.join(line)}</tr>" for line in zip(*[iter(cells)] * len(columns), strict=True))
    caption = f'<caption style="caption-side:top;text-align:left">{escape(title)}</caption>' if title else ""
    return Html(f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>", title)


def token_html(
    tokens: Sequence[str] | Sequence[Sequence[str]],
    values: Any,
    *,
    title: str = "",
    labels: Sequence[str] = (),
    limit: float | None = None,
) -> Html:
    """Tokens coloured by a number each: red above zero, blue below, white at zero; the number shows on hover.

    `tokens`: one list of T tokens, or one list per row. `values`: [T] or [R, T], as a tensor or nested numbers; several
    rows of values may share one list of tokens, such as one row per neuron. `labels`: a name per row. `limit`: the
    number that gets the full colour, by default the largest size present; what lies beyond it is drawn as the limit.
    Tokens without a number (NaN) are struck out. Raises ActkitError where tokens, values and labels do not match.
    """
    lines = _lines(tokens, _numbers(values))
    if labels and len(labels) != len(lines):
        raise ActkitError(f"{len(labels)} labels for {len(lines)} rows of values.")
    real = [value for _, numbers in lines for value in numbers if math.isfinite(value)]
    limit = max(map(abs, real), default=0.0) if limit is None else limit
    if not (limit >= 0 and math.isfinite(limit)):
        raise ActkitError(f"limit is {limit}; it must be a positive number.")
    rows = "".join(
        f"<div class=row>{f'<b>{escape(label)}</b>' if label else ''}<div>{_spans(line, numbers, limit)}</div></div>"
        for (line, numbers), label in zip(lines, labels or [""] * len(lines), strict=True)
    )
    caption = f"<figcaption>{escape(title)}</figcaption>" if title else ""
    return Html(
        f"<figure class=actkit-tokens>{_STYLE}{caption}{rows}{_legend(limit, min(real, default=0.0) < 0)}</figure>",
        title,
    )


def _numbers(values: Any) -> list[list[float]]:
    """[R, T] as plain numbers."""
    if isinstance(values, Tensor):
        values = values.detach().float().cpu()
    try:
        array = torch.as_tensor(values, dtype=torch.float64)
        return (array[None] if array.dim() == 1 else array).tolist()
    except (TypeError, ValueError):  # rows of unequal length
        return [[float(value) for value in row] for row in values]


def _lines(tokens: Any, numbers: list[list[float]]) -> list[tuple[Sequence[str], list[float]]]:
    """Each row's tokens with their numbers."""
    shared = not tokens or isinstance(tokens[0], str)
    texts = [tokens] * len(numbers) if shared else list(tokens)
    if len(texts) != len(numbers):
        raise ActkitError(f"{len(texts)} rows of tokens, but {len(numbers)} rows of values.")
    for i, (text, row) in enumerate(zip(texts, numbers, strict=True)):
        if len(text) != len(row):
            raise ActkitError(
                f"Row {i} has {len(text)} tokens but {len(row)} values.",
                "Padding slots have no token: take the real ones, such as values[row][batch.attention_mask[row] == 1].",
            )
    return list(zip(texts, numbers, strict=True))


def _spans(tokens: Sequence[str], numbers: list[float], limit: float) -> str:
    return "".join(_span(token, value, limit) for token, value in zip(tokens, numbers, strict=True))


def _span(token: str, value: float, limit: float) -> str:
    """One token. Its line end, if it has one, also ends the line on the page."""
    text = escape(visible(token)) + "<br>" * token.endswith("\n")
    if math.isnan(value):
        return f'<s title="no value">{text}</s>'
    share = 0.0 if limit == 0 else max(-1.0, min(1.0, value / limit))
    return f'<span title="{value:.4g}" style="{_colors(share)}">{text}</span>'


def _colors(share: float) -> str:
    """Background for light pages (--l) and dark ones (--d), of a number from -1 to 1."""
    light, dark = (_mixed(ends[0], ends[1 if share > 0 else 2], abs(share)) for ends in (_LIGHT, _DARK))
    return f"--l:{light};--d:{dark}"


def _mixed(start: tuple[int, int, int], end: tuple[int, int, int], share: float) -> str:
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(start, end, strict=True))


_LIGHT = ((255, 255, 255), (239, 111, 94), (94, 157, 224))
"""Zero, above, below. Text on it is black, with a contrast of at least 7 to 1 everywhere between."""
_DARK = ((24, 26, 30), (160, 38, 32), (26, 84, 158))
"""The same for white text."""

_STYLE = """<style>
.actkit-tokens{--page:#fff;--ink:#000;--faint:#595959;margin:0;padding:.6em .8em;border-radius:4px;
background:var(--page);color:var(--ink);font:14px/1.9 ui-monospace,Menlo,Consolas,monospace}
.actkit-tokens span{background:var(--l);color:var(--ink);padding:.15em 0;margin-right:1px;white-space:pre-wrap}
.actkit-tokens span:hover{outline:1px solid var(--ink)}
.actkit-tokens figcaption,.actkit-tokens b{font-family:system-ui,sans-serif;font-weight:600}
.actkit-tokens .row{display:flex;gap:1em;margin:.3em 0;overflow-wrap:anywhere}
.actkit-tokens b{flex:0 0 auto;min-width:6em;color:var(--faint);font-size:12px;line-height:2.2}
.actkit-tokens .scale{display:flex;gap:.5em;align-items:center;margin-top:.5em;color:var(--faint);
font-size:12px;line-height:1.5}
.actkit-tokens i{display:inline-block;width:10em;height:.8em;background:linear-gradient(90deg,LIGHT)}
.actkit-tokens i.up{background-size:200%;background-position:right}
@media(prefers-color-scheme:dark){.actkit-tokens{--page:#181a1e;--ink:#fff;--faint:#b8bcc4}
.actkit-tokens span{background:var(--d)}.actkit-tokens i{background:linear-gradient(90deg,DARK)}}
</style>"""
_PAGE = "<style>:root{color-scheme:light dark}body{margin:1em}</style>"


def _gradient(ends: tuple[tuple[int, int, int], ...]) -> str:
    zero, above, below = (f"rgb{end}".replace(" ", "") for end in ends)
    return f"{below},{zero},{above}"


_STYLE = _STYLE.replace("LIGHT", _gradient(_LIGHT)).replace("DARK", _gradient(_DARK)).replace("\n", "")


def _legend(limit: float, negative: bool) -> str:
    """The scale of colours; from zero up where nothing lies below."""
    if negative:
        return f"<div class=scale>{-limit:.3g}<i></i>{limit:.3g}</div>"
    return f"<div class=scale>0<i class=up></i>{limit:.3g}</div>"
