"""What a trace gives back and what it refuses, and a model in which the one cell that matters is known."""

import math

import actkit
import matplotlib as mpl
import pytest
import torch
from specimens import families, planted

mpl.use("Agg")
LOUD = planted.Plant(2, 4, fires_on=(" =",), promotes=(" total", " sum"), size=2 * planted.STORY_VOTE)
CLEAN, CORRUPT = "2 apples and three more make 2 + 3 =", "2 apples and three more make 2 + 3 +"


@pytest.fixture(scope="module")
def loud():
    """A neuron of layer 2 alone makes the model say " total" after " =". Tokens do not look at each other."""
    return actkit.load(planted.planted_model([LOUD]), tokenizer=planted.tokenizer([LOUD]))


@pytest.fixture(scope="module")
def grid(loud):
    return actkit.trace(loud, CLEAN, CORRUPT, at=["resid_pre", "mlp_out"], metric="prob", target=" total")


def test_only_the_planted_cell_restores_what_the_model_says(loud, grid):
    last = len(loud.encode([CLEAN]).ids[0]) - 1
    assert grid.clean > 0.8
    assert grid.corrupt < 0.01
    mlp = grid["mlp_out"].values[0]
    # In layer 2, or in the stream before it: there the token itself is put back.
    assert float(mlp[2, last]) > 0.8
    mlp[2, last] = 0
    assert float(mlp.max()) < 0.01
    stream = grid["resid_pre"].values[0]
    assert float(stream[:, last].min()) > 0.8
    assert float(stream[:, :last].max()) < 0.01


def test_only_the_planted_cell_breaks_what_the_model_says(loud):
    broken = actkit.trace(loud, CLEAN, CORRUPT, at="mlp_out", metric="prob", target=" total", into="clean")
    assert (broken.values[0] < 0.5).nonzero().tolist() == [[2, len(loud.encode([CLEAN]).ids[0]) - 1]]
    assert broken.base == broken.clean


def test_noise_on_the_decisive_token_is_undone_in_the_planted_cell(loud):
    noised = actkit.Noised((-1,), sigma=30.0, samples=4)
    found = actkit.trace(loud, CLEAN, noised, at="mlp_out", metric="logit_difference", target=" total", contrast=" 5")
    effect = found.effect[0]
    assert found.per_row.shape[0] == 4
    assert divmod(int(effect.nan_to_num(-1).argmax()), effect.shape[1]) == (2, effect.shape[1] - 1)


def test_the_table_names_every_cell(loud, grid):
    table = grid.table()
    assert table.columns == ["site", "layer", "position", "token", "value", "effect"]
    assert len(table) == grid.values.numel()
    best = table.filter(table["site"] == "mlp_out").sort("effect", descending=True).row(0, named=True)
    assert (best["layer"], best["token"]) == (2, " =")
    assert best["effect"] == pytest.approx((best["value"] - grid.corrupt) / (grid.clean - grid.corrupt))
    assert grid.sites == ("resid_pre", "mlp_out")
    assert grid.values.shape == (2, 4, len(grid.positions))


def test_rows_without_a_position_are_left_out_of_its_mean(loud):
    longer = actkit.trace(loud, ["2 + 3 =", CLEAN], ["2 + 3 +", CORRUPT], at="mlp_out", metric="prob", target=" total")
    assert math.isnan(float(longer.per_row[0, 0, 0, -1]))
    last = longer.values.shape[-1] - 1
    assert float(longer.values[0, 2, last]) == float(longer.per_row[1, 0, 2, last])
    there = longer.per_row[1, 0, 2, last]
    wanted = (there - longer.corrupt_rows[1]) / (longer.clean_rows[1] - longer.corrupt_rows[1])
    assert float(longer.effect[0, 2, last]) == pytest.approx(float(wanted))
    assert longer.tokens == (None,) * (last + 1)


def test_it_prints_what_was_done_and_the_strongest_cell(grid):
    text = repr(grid["mlp_out"])
    assert "probability of ' total'" in text
    assert "clean activations put into the corrupt run" in text
    assert "strongest: mlp_out.2 at = · " in text
    assert f"clean {grid.clean:.4g}, corrupt {grid.corrupt:.4g}" in text
    assert grid._repr_html_().startswith("<img")


def test_the_heat_map_has_tokens_and_layers(grid):
    axes = grid["mlp_out"].plot()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2", "3"]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == grid.labels
    assert labels[-1].startswith("= · ")
    assert "probability of ' total'" in axes.get_title(loc="left")
    drawn = torch.tensor(axes.images[0].get_array())
    torch.testing.assert_close(drawn.T, grid["mlp_out"].values[0])
    assert axes.images[0].norm.vcenter == pytest.approx(grid.corrupt)
    assert len(grid.plot().figure.axes) == 3  # two panels and a colour bar
    other = axes.figure.add_subplot()
    assert grid["mlp_out"].plot(other) is other
    with pytest.raises(actkit.ActkitError, match=r"2 panels[\s\S]*grid\['resid_pre'\]"):
        grid.plot(other)
    mpl.pyplot.close("all")


def test_heads_of_one_column_make_one_panel(tiny):
    found = actkit.trace(
        tiny, [[5, 6, 7]], [[5, 9, 7]], at="attn_z", per_head=True, positions=[-1], metric="logit", target=3
    )
    axes = found.plot()
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"attn_z[{i}]" for i in range(4)]
    mpl.pyplot.close("all")


BASIC = {"at": "resid_post", "metric": "logit", "target": 3}
REFUSED = [
    ([[5, 6, 7], [5, 6]], [[5, 9, 7], [5, 6, 7]], {}, r"Pair 1: the clean prompt has 2 tokens, the corrupt one 3"),
    ([[5, 6, 7]], [[5, 9, 7]] * 2, {}, "1 clean prompts but 2 corrupt"),
    ([[5, 6], [5, 6]], [[5, 9], [5, 6]], {}, "Pair 1: clean and corrupt prompt are the same"),
    ([[5, 6]], [[5, 9]], {"positions": [2]}, "prompt 0 has no position 2"),
    ([[5, 6]], [[5, 9]], {"positions": {"subject": (0, -3)}}, r"positions\['subject'\]: prompt 0 has no position -3"),
    ([[5, 6]], [[5, 9]], {"positions": "last"}, "positions 'last' must be"),
    ([[5, 6]], [[5, 9]], {"positions": []}, "No positions"),
    ([[5, 6]], [[5, 9]], {"positions": {"a": ()}}, "is empty"),
    ([[5, 6]], [[5, 9]], {"positions": {"a": [(0,), (1,)]}}, "positions for 2 prompts, but there are 1"),
    ([[5, 6]], [[5, 9]], {"at": "resid_past"}, "Nearest: resid_p"),
    ([[5, 6]], [[5, 9]], {"at": "resid_post.7"}, "layers 0 to 2"),
    ([[5, 6]], [[5, 9]], {"at": "embed"}, "embed has no layers"),
    ([[5, 6]], [[5, 9]], {"per_head": True}, "resid_post has no heads"),
    ([[5, 6]], [[5, 9]], {"metric": "probability"}, "No metric 'probability'. Nearest: prob"),
    ([[5, 6]], [[5, 9]], {"target": None}, "needs a `target`"),
    ([[5, 6]], [[5, 9]], {"metric": "kl"}, "takes no `target`"),
    ([[5, 6]], [[5, 9]], {"contrast": 4}, "takes no `contrast`"),
    ([[5, 6]], [[5, 9]], {"metric": "logit_difference"}, "needs a `contrast`"),
    ([[5, 6]], [[5, 9]], {"target": 320}, "No token 320: the vocabulary has ids 0 to 319"),
    ([[5, 6]], [[5, 9]], {"target": [3, 4]}, "2 tokens as `target` for 1 pairs"),
    ([[5, 6]], [[5, 9]], {"target": "zebra"}, r"'zebra' is not one token of the vocabulary but 'z', "),
    ([[5, 6]], [[5, 9]], {"target": "apples"}, "Nearest: ' apples'"),
    ([[5, 6]], [[5, 9]], {"metric": lambda x: x, "target": None}, r"one number per row, \[\d\] for logits"),
    ([[5, 6]], [[5, 9]], {"metric": lambda x: x[:, 0] - x[:, 0].mean(), "target": None}, "another value when it comes"),
    ([[5, 6]], [[5, 9]], {"into": "both"}, 'into must be "corrupt" or "clean"'),
    ([[5, 6]], [[5, 9]], {"window": 0}, r"window \(0\)"),
    ([[5, 6]], [[5, 9]], {"keep_top": 0}, "keep_top is 0"),
    ([[5, 6]], [[5, 9]], {"keep_top": 3, "window": 2}, "A window of layers cannot be estimated"),
    ([[5, 6]], actkit.Noised((2,)), {}, "span: prompt 0 has no position 2"),
    ([[5, 6]], actkit.Noised(()), {}, "span of prompt 0 is empty"),
    ([[5, 6]], actkit.Noised((1,), sigma="thrice"), {}, "sigma 'thrice' is not understood"),
    ([[5, 6]], actkit.Noised((1,), sigma=0.0), {}, "corrupts nothing"),
    ([[5, 6]], actkit.Noised((1,), samples=0), {}, "0 noise samples"),
]


@pytest.mark.parametrize(("clean", "corrupt", "options", "message"), REFUSED)
def test_mistakes_are_named(tiny, clean, corrupt, options, message):
    with pytest.raises(actkit.ActkitError, match=message):
        actkit.trace(tiny, clean, corrupt, **(BASIC | options))


def test_faulty_rows_are_told(tiny):
    with pytest.raises(actkit.PromptError) as error:
        actkit.trace(tiny, [[5, 6], [7], [8]], [[5, 9], [7, 8], [8, 9]], **BASIC)
    assert error.value.rows == (1, 2)


def test_text_targets_need_a_tokenizer(bare):
    with pytest.raises(actkit.NoTokenizer, match="token cannot be text"):
        actkit.trace(bare, [[5, 6]], [[5, 9]], at="resid_post", metric="prob", target=" apples")


def test_a_corruption_without_effect_is_warned_of(loud):
    with pytest.warns(UserWarning, match="both clean and corrupt: there is nothing to trace"):
        found = actkit.trace(
            loud, CLEAN, "2 apples and 3 more make 2 + 3 =", at="mlp_out", metric="prob", target=" total"
        )
    assert found.effect.isnan().all()


def test_a_site_that_was_not_traced_is_not_found(grid):
    with pytest.raises(actkit.ActkitError, match=r"'mlp_oot' was not traced. Nearest: mlp_out"):
        grid["mlp_oot"]


def test_bfloat16_models_can_be_traced():
    model = actkit.load(families.tiny_model("llama", dtype=torch.bfloat16))
    exact = actkit.load(families.tiny_model("llama"))
    options = {"at": "resid_post", "metric": "logit", "target": 3, "keep_top": 9}
    found, wanted = (actkit.trace(each, [[5, 6, 7]], [[5, 9, 7]], **options) for each in (model, exact))
    both = found.values.isfinite() & wanted.values.isfinite()
    assert both.any()
    torch.testing.assert_close(found.values[both], wanted.values[both], atol=0.1, rtol=0.1)
