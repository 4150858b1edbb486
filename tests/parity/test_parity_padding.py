"""Promise 4: a row of a mixed-length batch is that row alone, whichever side the padding is on."""

import math

import actkit
import pytest
import torch

pytestmark = pytest.mark.promise("padding")


def _worst(model, rows, batch):
    """Largest difference, over rows, sites and real tokens, between the row in the batch and the row alone.

    As a share of the site's largest value where that is above 1: rounding errors grow with the values (OLMo 2's neurons
    reach 20, because nothing normalises what they read).
    """
    together = model.run(batch, capture="*")
    worst = 0.0
    for i, row in enumerate(rows):
        alone = model.run(model.encode([row]), capture="*")
        real = batch.attention_mask[i].bool()
        # A pattern's last axis counts the keys of the longest row; Hugging Face computes patterns in float32.
        pairs = [(together[s][i][real][..., : alone[s].shape[-1]], alone[s][0], "pattern" in s) for s in alone]
        pairs.append((together.logits[i], alone.logits[0], False))
        gaps = [float((a - b).abs().max() / b.abs().max().clamp(min=1)) - 1e-6 * rough for a, b, rough in pairs]
        assert not any(math.isnan(gap) for gap in gaps)
        worst = max([worst, *gaps])
    return worst


@pytest.mark.parametrize("pad", ["left", "right"])
def test_rows_of_a_batch_equal_rows_alone_in_float32(model, rows, padded, pad):
    assert _worst(model, rows, padded(pad)) <= 1e-5


@pytest.mark.parametrize("pad", ["left", "right"])
def test_rows_of_a_batch_equal_rows_alone_in_float64(exact, rows, padded, pad, tiny_error):
    assert _worst(exact, rows, padded(pad)) <= tiny_error


@pytest.mark.parametrize("pad", ["left", "right"])
def test_positions_of_edits_count_real_tokens(exact, rows, padded, pad, tiny_error):
    """The same edit of the same token, once in a padded batch and once in the row alone, has the same effect."""
    direction = torch.linspace(-1, 1, exact.dims.d_model)
    batch, one = padded(pad), exact.encode(rows[:1])
    edits = [actkit.add("resid_post.0", direction, where=actkit.Where(pos=pos)) for pos in (-1, (0, 2), -3)]
    for edit in [*edits, actkit.noise("resid_pre.1", 1.0)]:
        # Noise is drawn per row number, so the row alone must be compared in its own place.
        together, alone = exact.run(batch, edits=[edit]).logits, exact.run(one, edits=[edit]).logits
        torch.testing.assert_close(together[:1], alone, atol=tiny_error, rtol=0)
    assert float((alone - exact.run(one).logits).abs().max()) > 1e-3


def test_without_position_ids_left_padding_would_lie():
    """Why position ids are always passed: plain Hugging Face without them is off by far more than rounding."""
    from specimens import families

    model = actkit.load(families.tiny_model("gpt2"))
    batch = model.encode([[5, 6, 7, 8, 9, 10], [20, 21, 22]])
    with torch.no_grad():
        naive = model.hf(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[1, -1]
    alone = model.run(model.encode([[20, 21, 22]])).logits[0]
    assert float((naive - alone).abs().max()) > 0.01
    assert float((model.run(batch).logits[1] - alone).abs().max()) <= 1e-5


def test_float64_with_eager_attention_and_padding_is_refused():
    from specimens import families

    model = actkit.load(families.tiny_model("gemma2", dtype=torch.float64))
    batch = model.encode([[5, 6, 7, 8], [20, 21]])
    with pytest.raises(actkit.ActkitError, match=r"NaN for padded rows[\s\S]*sdpa"):
        model.run(batch)
    with pytest.raises(actkit.ActkitError, match="NaN for padded rows"):
        model.generate(batch, max_new_tokens=2)
    assert torch.isfinite(model.run(model.encode([[5, 6, 7, 8]])).logits).all()
