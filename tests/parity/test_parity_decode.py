"""Promise 5: what is seen and done while decoding is what one forward pass over the finished text sees and does."""

from functools import lru_cache

import actkit
import pytest
import torch

pytestmark = [pytest.mark.promise("decoding"), pytest.mark.usefixtures("generating")]
NEW = 12


@lru_cache(maxsize=1)  # tests of a model follow each other
def _said(model, *rows):
    return model.generate(model.encode(list(map(list, rows))), max_new_tokens=NEW, capture="*", eos=False)


@pytest.fixture
def together(exact, rows):
    """What the model says to all rows without an end, and all that it does meanwhile."""
    return _said(exact, *map(tuple, rows))


@pytest.fixture
def alone(exact, rows):
    """What it says to each row alone."""
    return [exact.generate(exact.encode([row]), max_new_tokens=NEW, eos=False).tokens[0] for row in rows]


@pytest.fixture
def ended_early(exact, together, monkeypatch):
    """A model whose first row ends early, by an end-of-text token of its own choosing."""
    first, *others = together.tokens
    token = next(t for t in first[:6] if all(t not in other for other in others))
    monkeypatch.setattr(exact.hf.generation_config, "eos_token_id", token)
    monkeypatch.setattr(exact.hf.config, "eos_token_id", token)
    return exact


def _worst(generation, full):
    """Largest difference at any site; of patterns, which Hugging Face computes in float32, beyond that."""
    real = generation.batch.attention_mask.bool()
    gaps = {site: float((generation.run[site] - full[site])[real].abs().max()) for site in full}
    return max(gap - 1e-6 * site.startswith("attn_pattern") for site, gap in gaps.items())


def _until(end, rows):
    """The rows up to an end-of-text token."""
    return [row[: row.index(end) + 1] if end in row else row for row in rows]


def _first(model, kind):
    """The first site of this kind, in a list, or none."""
    return [site.name for site in model.sites.values() if site.kind == kind][:1]


def test_greedy_tokens_equal_hf_generate(model, rows):
    batch = model.encode(rows)
    ours = model.generate(batch, max_new_tokens=NEW)
    theirs = model.hf.generate(
        batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=NEW, do_sample=False
    )[:, batch.input_ids.shape[1] :].tolist()
    end = model.hf.generation_config.eos_token_id
    assert ours.tokens == _until(end, theirs)
    assert ours.finish == ["eos" if end in row else "length" for row in theirs]


def test_a_row_decodes_the_same_alone_and_right_padded_and_among_others(exact, rows, together, alone):
    right_padded = exact.generate(exact.encode(rows, pad="right"), max_new_tokens=NEW, eos=False).tokens
    assert right_padded == alone
    assert together.tokens == alone


def test_captures_equal_one_forward_over_the_finished_text(exact, together, tiny_error):
    assert _worst(together, exact.run(together.batch, capture="*")) <= 10 * tiny_error


def test_captures_equal_one_forward_when_rows_leave_early(ended_early, rows, tiny_error):
    generation = ended_early.generate(ended_early.encode(rows), max_new_tokens=NEW, capture="*")
    assert generation.finish[0] == "eos"
    assert len(generation.tokens[0]) <= 6
    assert [len(row) + len(new) for row, new in zip(rows, generation.tokens, strict=True)] == (
        generation.batch.lengths.tolist()
    )
    assert _worst(generation, ended_early.run(generation.batch, capture="*")) <= 10 * tiny_error


def test_tokens_do_not_change_when_other_rows_leave_early(ended_early, rows, together):
    found = ended_early.generate(ended_early.encode(rows), max_new_tokens=NEW)
    end = ended_early.hf.generation_config.eos_token_id
    assert found.tokens == _until(end, together.tokens)
    assert found.finish == ["eos" if end in row else "length" for row in together.tokens]
    first = ended_early.generate(ended_early.encode(rows[:1]), max_new_tokens=NEW)  # nobody is left
    assert (first.tokens[0], first.finish[0]) == (found.tokens[0], found.finish[0])


def test_steps_hand_over_the_position_that_produced_the_token(ended_early, rows, together, tiny_error):
    steps = []
    sites = ["resid_post.*", "resid_pre.1", "embed"]
    streamed = ended_early.generate(ended_early.encode(rows), max_new_tokens=NEW, capture=sites, on_step=steps.append)
    assert not streamed.run
    assert streamed.tokens == _until(ended_early.hf.generation_config.eos_token_id, together.tokens)
    full = ended_early.run(streamed.batch, capture=sites)
    start = max(map(len, rows)) - 1
    for step in steps:
        assert list(step.captures) == list(full)
        assert step.tokens.tolist() == [streamed.tokens[row][step.index] for row in step.rows.tolist()]
        for site, values in step.captures.items():
            expected = full[site][step.rows, start + step.index]
            torch.testing.assert_close(values, expected, atol=10 * tiny_error, rtol=0)
    assert [step.index for step in steps] == list(range(len(steps)))
    assert [len(step.rows) for step in steps] == [sum(len(t) > i for t in streamed.tokens) for i in range(len(steps))]


def test_edits_while_decoding_hit_the_right_absolute_position(exact, rows, together, tiny_error):
    """Prompt of row 0: 11 tokens, row 1: 3, row 2: 6. Position 7 is prompt for one and new text for the others."""
    direction = torch.linspace(-3, 3, exact.dims.d_model)
    edits = [
        actkit.add("resid_post.1", direction, where=actkit.Where(pos=7)),
        actkit.zero("resid_pre.2", where=actkit.Where(rows=(1, 2), pos=(4, 9), units=range(9))),
        actkit.noise("embed", 0.5, seed=3, where=actkit.Where(pos=range(5, 13))),
        *(actkit.zero(site, where=actkit.Where(rows=(0, 1), pos=(3, 8))) for site in _first(exact, "mlp_out")),
        *(actkit.scale(site, 0.5, where=actkit.Where(heads=1, units=(0, 3))) for site in _first(exact, "attn_z")),
    ]
    generation = exact.generate(exact.encode(rows), max_new_tokens=NEW, capture="*", edits=edits, eos=False)
    full = exact.run(generation.batch, capture="*", edits=edits, logits="all")
    assert _worst(generation, full) <= 10 * tiny_error
    # The text itself is the edited model's: every new token is the edited forward's best.
    for row, (prompt, new) in enumerate(zip(rows, generation.tokens, strict=True)):
        start = max(map(len, rows)) - 1
        assert full.logits[row, start : start + len(new)].argmax(-1).tolist() == new, prompt
    assert generation.tokens != together.tokens


def test_edits_go_on_hitting_the_right_row_after_others_left(ended_early, rows, tiny_error):
    def edit(end):
        return actkit.set_("resid_pre.1", 0.3, where=actkit.Where(rows=2, pos=range(11, end)))

    generation = ended_early.generate(ended_early.encode(rows), max_new_tokens=NEW, capture="*", edits=edit(18))
    assert generation.finish[0] == "eos"
    # While decoding, how long the text will be is not known; of a finished one only what is there can be edited.
    end = min(18, int(generation.batch.lengths[2]))
    full = ended_early.run(generation.batch, capture="*", edits=edit(end))
    assert _worst(generation, full) <= 10 * tiny_error
