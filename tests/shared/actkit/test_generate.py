"""How a row ends, what its text is, and how tokens are drawn."""

import actkit
import pytest
import torch
from actkit.sampling import pick
from specimens import families, planted


def test_end_of_text_ends_a_row_and_is_not_in_its_text(reciter):
    generation = reciter.generate(reciter.encode([planted.PROMPT]), max_new_tokens=100)
    assert generation.texts == [planted.CHAIN]
    assert generation.finish == ["eos"]
    assert generation.tokens[0][-1] == reciter.tokenizer.eos_token_id


def test_end_of_text_can_be_ignored(reciter):
    generation = reciter.generate(reciter.encode([planted.PROMPT]), max_new_tokens=30, eos=False)
    assert generation.finish == ["length"]
    assert len(generation.tokens[0]) == 30


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        ("=", "2 apples and three more make 2 + 3 "),
        (" three more", "2 apples and"),
        (["= 5 fr", "make 2"], "2 apples and three more "),
        ("uits.\nThe ans", "2 apples and three more make 2 + 3 = 5 fr"),
        ("2", ""),
    ],
)
def test_a_stop_string_ends_a_row_and_its_text_is_cut_there(reciter, stop, text):
    generation = reciter.generate(reciter.encode([planted.PROMPT]), max_new_tokens=100, stop=stop)
    assert generation.texts == [text]
    assert generation.finish == ["stop"]


def test_a_stop_string_in_the_prompt_does_not_end_a_row(reciter):
    generation = reciter.generate(reciter.encode([planted.PROMPT]), max_new_tokens=100, stop="Question:")
    assert generation.finish == ["eos"]


def test_the_tail_searched_is_long_enough_for_any_stop_string(reciter):
    whole = planted.CHAIN[3:-1]
    generation = reciter.generate(reciter.encode([planted.PROMPT]), max_new_tokens=100, stop=whole)
    assert (generation.finish, generation.texts) == (["stop"], [planted.CHAIN[:3]])


def test_length_and_context_end_rows_one_by_one(bare):
    rows = [[5] * 128, [6] * 127, [7] * 100, [8] * 3]
    generation = bare.generate(bare.encode(rows), max_new_tokens=20, eos=False, capture="embed")
    assert generation.finish == ["context", "context", "length", "length"]
    assert [len(tokens) for tokens in generation.tokens] == [0, 1, 20, 20]
    assert torch.equal(generation.run["embed"][0, :128], bare.run(bare.encode(rows[:1]), capture="embed")["embed"][0])
    steps = []
    bare.generate(bare.encode(rows), max_new_tokens=2, eos=False, capture="embed", on_step=steps.append)
    assert [step.rows.tolist() for step in steps] == [[1, 2, 3], [2, 3]]
    assert steps[0].captures["embed"].shape[0] == 3


def test_learned_positions_end_at_the_context_rather_than_crash():
    model = actkit.load(families.tiny_model("gpt2", families.Shape(context=16)))
    generation = model.generate(model.encode([[5] * 14, [6] * 16]), max_new_tokens=10, eos=False, capture="*")
    assert generation.finish == ["context", "context"]
    assert [len(tokens) for tokens in generation.tokens] == [2, 0]


def test_the_caches_spare_room_may_run_out_again_and_again(bare, monkeypatch):
    monkeypatch.setattr("actkit.cache._ROOM", 3)
    batch = bare.encode([[5, 6, 7, 8, 9], [10, 11]])
    ours = bare.generate(batch, max_new_tokens=40)
    theirs = bare.hf.generate(batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=40, do_sample=False)[
        :, 5:
    ].tolist()
    assert [new + [0] * (len(theirs[0]) - len(new)) for new in ours.tokens] == theirs


def test_rows_that_finish_leave_the_batch(reciter):
    """Counted at the model: the forward passes shrink as rows finish."""
    sizes = []
    handle = reciter.hf.register_forward_pre_hook(
        lambda _m, _a, kwargs: sizes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    tokens = len(reciter.tokenizer(planted.CHAIN)["input_ids"])
    # The second row starts in mid-chain, so that it ends first.
    reciter.generate(reciter.encode([planted.PROMPT, "make 2 + 3 = 5 fruits.\nThe answer"]), max_new_tokens=50)
    handle.remove()
    assert sizes[0][0] == 2
    assert [size[0] for size in sizes].count(2) == 3  # " is", " 5.", end of text
    assert len(sizes) == tokens + 1
    assert all(size[1] == 1 for size in sizes[1:])


def test_text_keeps_its_leading_space(reciter):
    generation = reciter.generate(reciter.encode(["The answer"]), max_new_tokens=5)
    assert generation.texts == [" is 5."]


def test_the_head_runs_on_one_position_per_row(bare):
    seen = []
    handle = bare.head.register_forward_hook(lambda _m, args, _out: seen.append(args[0].shape[1]))
    bare.generate(bare.encode([[5, 6, 7, 8]]), max_new_tokens=3, eos=False)
    bare.run(bare.encode([[5, 6, 7, 8], [9]], pad="right"))
    handle.remove()
    assert seen == [1, 1, 1, 1]


def test_a_seed_fixes_the_draws_and_neighbours_do_not_matter(bare):
    rows = [[5, 6, 7], [8, 9], [10]]
    how = {"max_new_tokens": 8, "eos": False, "temperature": 1.0, "top_p": 0.95}
    together = bare.generate(bare.encode(rows), seed=[1, 2, 3], **how).tokens
    assert together == bare.generate(bare.encode(rows), seed=[1, 2, 3], **how).tokens
    assert together != bare.generate(bare.encode(rows), seed=[4, 5, 6], **how).tokens
    assert together[1] == bare.generate(bare.encode(rows[1:2]), seed=[2], **how).tokens[0]
    assert bare.generate(bare.encode([rows[0]] * 2), seed=0, **how).tokens[0] != together[0]
    state = torch.get_rng_state()
    bare.generate(bare.encode(rows), seed=1, **how)
    assert torch.equal(torch.get_rng_state(), state)


def test_draws_follow_the_nucleus_distribution():
    """Against the distribution written out by hand: tokens past the nucleus never, the others in proportion."""
    probs = torch.tensor([0.05, 0.5, 0.15, 0.3])
    uniform = torch.arange(10_000, dtype=torch.float64) / 10_000
    drawn = pick(probs.log().double().expand(10_000, -1), 0.75, uniform).bincount(minlength=4) / 10_000
    torch.testing.assert_close(drawn, torch.tensor([0.0, 0.625, 0.0, 0.375]), atol=1e-3, rtol=0)
    everything = pick(probs.log().double().expand(10_000, -1), 1.0, uniform).bincount(minlength=4) / 10_000
    torch.testing.assert_close(everything, probs, atol=1e-3, rtol=0)


def test_a_low_temperature_is_greedy(bare):
    batch = bare.encode([[5, 6, 7]])
    greedy = bare.generate(batch, max_new_tokens=6, eos=False).tokens
    assert bare.generate(batch, max_new_tokens=6, eos=False, temperature=1e-6).tokens == greedy


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, not 0"),
        ({"max_new_tokens": 1, "stop": ["a", ""]}, "A stop string is empty"),
        ({"max_new_tokens": 1, "temperature": -1.0}, "temperature must be 0"),
        ({"max_new_tokens": 1, "top_p": 0.0}, r"top_p must lie in \(0, 1\]"),
        ({"max_new_tokens": 1, "temperature": 1.0, "seed": [1, 2]}, "2 seeds for 1 rows"),
    ],
)
def test_wrong_options_are_refused(tiny, options, said):
    with pytest.raises(ValueError, match=said):
        tiny.generate(tiny.encode([[5]]), **options)


def test_stop_strings_need_a_tokenizer(bare):
    with pytest.raises(actkit.NoTokenizer, match="Stop strings need a tokenizer"):
        bare.generate(bare.encode([[5]]), max_new_tokens=1, stop="a")


def test_streaming_keeps_nothing_of_the_prompt(tiny):
    """A hook keeps a copy of one position, so that the prompt's whole stretch of activations can be freed."""
    stored = []
    tiny.generate(
        tiny.encode([[5] * 100]),
        max_new_tokens=2,
        eos=False,
        capture="mlp_post.*",
        on_step=lambda step: stored.extend(x.untyped_storage().nbytes() for x in step.captures.values()),
    )
    assert set(stored) == {48 * 4}


def test_logits_can_be_changed_before_a_token_is_chosen(bare):
    """Each row is held to a token of its own, told apart by its number also after the second row has left."""
    wanted, seen = [7, 11, 13], []

    def adjust(logits, rows):
        seen.append(list(rows))
        held = torch.full_like(logits, float("-inf"))
        for place, row in enumerate(rows):
            held[place, wanted[row]] = 0.0
        return held

    rows = [[5, 6], [5] * 126, [8] * 3]  # the context is 128
    generation = bare.generate(bare.encode(rows), max_new_tokens=4, eos=False, adjust=adjust)
    assert generation.tokens == [[7] * 4, [11] * 2, [13] * 4]
    assert seen == [[0, 1, 2], [0, 1, 2], [0, 2], [0, 2]]


def test_logits_that_are_looked_at_are_hugging_faces_own(bare):
    seen = []
    batch = bare.encode([[5, 6, 7], [8, 9]])
    plain = bare.generate(batch, max_new_tokens=5, eos=False).tokens
    watched = bare.generate(batch, max_new_tokens=5, eos=False, adjust=lambda logits, _: seen.append(logits) or logits)
    assert watched.tokens == plain
    theirs = bare.hf.generate(
        batch.input_ids[:1], max_new_tokens=5, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    for ours, logits in zip(seen, theirs.logits, strict=False):
        torch.testing.assert_close(ours[:1], logits, atol=1e-5, rtol=1e-5)
    assert len(seen) == 5
