"""What runs, lenses and token pages show a person, parsed back as a browser or a reader would."""

import io
import re
from html.parser import HTMLParser

import actkit
import polars as pl
import pytest
import torch
from actkit.tokens import readable
from matplotlib.image import imread
from specimens import families
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast


class _Spans(HTMLParser):
    """Texts and titles of the coloured tokens, and every tag met."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.tokens, self.links = [], [], []
        self.feed(str(page))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag in ("span", "s"):
            self.tokens.append([dict(attrs)["title"], "", dict(attrs).get("style", "")])

    def handle_data(self, data):
        if self.tokens and self.lasttag in ("span", "s"):
            self.tokens[-1][1] += data
            self.lasttag = ""


def _luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_tokens_arrive_as_they_are():
    tokens = ["<script>alert(1)</script>", " lead", "trail ", 'a"b', "&amp;", "x\n", "\t", "a\u202eb", "日本", "\x00"]
    page = _Spans(actkit.token_html(tokens, range(10), title="<b>&", labels=["<i>"]))
    shown = ["<script>alert(1)</script>", " lead", "trail ", 'a"b', "&amp;", "x↵", "⇥", "a\\u202eb", "日本", "\\x00"]
    assert [text for _, text, _ in page.tokens] == shown
    assert [title for title, _, _ in page.tokens] == [str(i) for i in range(10)]
    assert set(page.tags) <= {"figure", "style", "figcaption", "div", "b", "span", "br", "i"}
    assert page.tags.count("br") == 1


def test_colours_diverge_and_text_on_them_can_be_read():
    values = [-2.0, -1.0, 0.0, 1.0, 2.0, float("nan"), 9.0]
    page = _Spans(actkit.token_html(["t"] * 7, values, limit=2))
    colours = [re.findall("#[0-9a-f]{6}", style) for _, _, style in page.tokens]
    assert colours[2][0] == "#ffffff"
    assert colours[5] == []
    assert page.tokens[5][0] == "no value"
    assert colours[6] == colours[4]
    for below, above in ((0, 4), (1, 3)):
        for theme in (0, 1):
            blue, red = colours[below][theme], colours[above][theme]
            assert int(blue[5:], 16) > int(blue[1:3], 16)
            assert int(red[1:3], 16) > int(red[5:], 16)
    for light, dark in (pair for pair in colours if pair):
        assert (_luminance(light) + 0.05) / 0.05 >= 7  # black text
        assert 1.05 / (_luminance(dark) + 0.05) >= 4.5  # white text


def test_the_scale_says_what_the_colours_mean():
    both, positive = (str(actkit.token_html(["a", "b"], [value, 3.0])) for value in (-1.5, 1.5))
    assert re.search(r"class=scale>-3<i></i>3<", both)
    assert re.search(r"class=scale>0<i class=up></i>3<", positive)


@pytest.mark.parametrize("values", [torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.bfloat16), [[1, 2], [3, 4]]])
def test_rows_share_tokens_or_bring_their_own(values):
    page = _Spans(actkit.token_html(["a", "b"], values, labels=["one", "two"]))
    assert [(title, text) for title, text, _ in page.tokens] == [("1", "a"), ("2", "b"), ("3", "a"), ("4", "b")]
    page = _Spans(actkit.token_html([["a"], ["b", "c"]], [[1], [2, 3]]))
    assert [(title, text) for title, text, _ in page.tokens] == [("1", "a"), ("2", "b"), ("3", "c")]


def test_a_saved_page_is_whole_and_needs_no_network(tmp_path):
    page = actkit.token_html(["a", "b"], [0.0, 0.0], title="All <zero>")
    saved = page.save(tmp_path / "page.html").read_text("utf-8")
    assert saved.startswith("<!doctype html>")
    assert "<title>All &lt;zero&gt;</title>" in saved
    assert page._repr_html_() == str(page)
    assert str(page) in saved
    assert _Spans(saved).links == []
    assert not re.search(r"https?:|url\(|@import", saved)


@pytest.mark.parametrize(
    ("tokens", "values", "options", "said"),
    [
        (["a"], [1, 2], {}, "Row 0 has 1 tokens but 2 values"),
        ([["a"], ["b"]], [1], {}, "2 rows of tokens, but 1 rows of values"),
        (["a"], [[1], [2]], {"labels": ["x"]}, "1 labels for 2 rows"),
        (["a"], [1], {"limit": -1}, "limit is -1"),
        (["a"], [1], {"limit": float("nan")}, "limit is nan"),
    ],
)
def test_what_does_not_match_is_refused(tokens, values, options, said):
    with pytest.raises(actkit.ActkitError, match=said):
        actkit.token_html(tokens, values, **options)


def test_a_run_prints_what_it_holds():
    model = actkit.load(families.tiny_model("llama"), tokenizer=families.tiny_tokenizer())
    run = model.run(model.encode(["12 apples", "7"]), capture=["embed", "mlp_post.[02]", "resid_post.*"], grad=True)
    head, columns, *lines = str(run).splitlines()
    captured = 1 * 32 + 2 * 48 + 3 * 32
    width = run.batch.input_ids.shape[1]
    assert head == (
        f"Run of Llama: 2 rows × {width} tokens (1 to {width} real), {2 * width * captured * 4 / 1e6:.2f} MB captured, "
        "with graph"
    )
    assert columns.split() == ["site", "shape", "dtype", "device", "MB"]
    assert [line.split()[0] for line in lines] == ["embed", "mlp_post.0,2", "resid_post.0–2", "logits"]
    assert lines[1].split()[1:] == ["[2,", f"{width},", "48]", "float32", "cpu", "0.00"]
    page = run._repr_html_()
    assert "<td" in page
    assert "resid_post.0–2" in page
    assert repr(run).startswith("Run(embed: [2, ")


def test_a_run_reads_its_tokens():
    model = actkit.load(families.tiny_model("llama"), tokenizer=families.tiny_tokenizer())
    batch = model.encode(["7", " apples\nis €"])
    run = model.run(batch)
    assert run.tokens(0) == ["7"]
    assert "".join(run.tokens(1)[:1]) == " apples"
    assert "\n" in run.tokens(1)
    assert not any("\ufffd" in token for token in run.tokens(1))
    assert run.tokens(-1) == run.tokens(1)
    assert model.generate(batch, max_new_tokens=2, capture="embed").run.tokens(0)[0] == "7"
    with pytest.raises(actkit.ActkitError, match="rows 0 to 1, not 2"):
        run.tokens(2)
    bare = actkit.load(families.tiny_model("llama"))
    assert bare.run(bare.encode([[5, 6]])).tokens() == ["<5>", "<6>"]


def test_a_lens_as_table_and_picture(tiny):
    run = tiny.run(tiny.encode(["12 apples", "7"]), capture="resid_post.*")
    targets = run.batch.input_ids.roll(-1, 1)
    lens = actkit.logit_lens(tiny, run, targets=targets, top=3)
    table = lens.table()
    lengths = run.batch.lengths.tolist()
    assert table.height == 3 * sum(lengths)
    assert table.select("row", "position", "layer").rows() == [
        (row, place, layer) for row in (0, 1) for place in range(lengths[row]) for layer in (0, 1, 2)
    ]
    line = table.row(by_predicate=(pl.col("row") == 1) & (pl.col("layer") == 2), named=True)
    last = torch.softmax(run.logits[1], -1)
    best = last.topk(3)
    assert line["top_ids"] == best.indices.tolist()
    assert line["probs"] == pytest.approx(best.values.tolist(), abs=1e-5)
    for word, i in zip(line["top"], best.indices.tolist(), strict=True):
        text = tiny.tokenizer.decode([i])
        assert word == (tiny.tokenizer.convert_ids_to_tokens(i) if "\ufffd" in text else text)
    assert line["token"] == "7"
    assert line["target_logprob"] == pytest.approx(float(last[targets[1, -1]].log()), abs=1e-4)
    assert actkit.logit_lens(tiny, run).table()["target"].null_count() == table.height
    assert repr(lens) == f"Lens(3 layers × 2 rows × {lengths[0]} tokens, top 3, targets followed)"
    for color in ("probability", "entropy"):
        figure = lens.plot(0, color=color, positions=[0, -1])
        cells = [text.get_text() for text in figure.axes[0].texts]
        assert len(cells) == 3 * 2
        assert figure.axes[0].images[0].get_array().shape == (3, 2)
        assert imread(io.BytesIO(figure._repr_png_())).std() > 0.05
    assert lens.plot(1).axes[0].images[0].get_array()[2, 0] == pytest.approx(float(best.values[0]), abs=1e-5)
    with pytest.raises(actkit.ActkitError, match="color is 'red'"):
        lens.plot(color="red")
    with pytest.raises(actkit.ActkitError, match="positions 0 to 0"):
        lens.plot(1, positions=[1])


@pytest.mark.parametrize(
    ("token", "expected"), [(" apples", "Ġapples"), ("Ġapples", "Ġapples"), ("7", "7"), (9, 9), ("\n", "Ċ")]
)
def test_tokens_by_text_spelling_or_id(tiny, token, expected):
    vocab = tiny.tokenizer.get_vocab()
    assert actkit.token_id(tiny, token) == vocab.get(expected, expected)


def test_sentencepiece_keeps_its_spaces():
    """Its decoder drops the space of a text's first token, which a token shown by itself always is."""
    inner = Tokenizer(models.WordLevel({"<unk>": 0, "▁the": 1, "cat": 2}, unk_token="<unk>"))
    inner.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
    assert tokenizer.decode([1]) == "the"
    assert readable(tokenizer, [1, 2, 1]) == [" the", "cat", " the"]


def test_text_that_is_no_token_is_refused(tiny, bare):
    with pytest.raises(actkit.ActkitError, match=r"(?s)not one token of the vocabulary but .*Nearest"):
        actkit.token_id(tiny, "apples and pears".replace(" ", "\x01"))
    with pytest.raises(actkit.NoTokenizer):
        actkit.token_id(bare, "7")
    with pytest.raises(actkit.ActkitError, match="ids 0 to 319"):
        actkit.token_id(tiny, -1)
