"""The small world: consistent facts, and two-step questions honestly held out."""

from random import Random

from specimens import world
from specimens.text import split_answer


def stated(question: world.Question) -> list[str]:
    return split_answer(question.answer)[0].split("\n")


def test_every_fact_is_asked_in_training():
    asked = {q.question for q in world.questions("facts")}
    rng = Random(0)
    drawn = [world.training_question(rng) for _ in range(20_000)]
    assert asked <= {q.question for q in drawn}
    assert {q.split for q in drawn} == {"facts", "two-step"}


def test_held_out_chains_never_occur_in_training_but_their_facts_do():
    held, shown = world.questions("held-out two-step"), world.questions("two-step")
    assert len(held) > 30
    assert len(held) + len(shown) == 240
    assert not {q.question for q in held} & {q.question for q in shown}
    assert not {tuple(stated(q)) for q in held} & {tuple(stated(q)) for q in shown}
    single = {stated(q)[0] for q in world.questions("facts")}
    assert all(fact in single for q in held for fact in stated(q))


def test_two_step_answers_follow_from_the_facts():
    facts = world.facts()
    for q in (*world.questions("two-step"), *world.questions("held-out two-step")):
        first, second = q.relations.split()
        person = next(p for p in facts[first] if p in q.question.rstrip("?").split())
        assert split_answer(q.answer)[1] == facts[second][facts[first][person]]


def test_one_question_has_one_answer():
    every = [q for split in world.WORLD_SPLITS for q in world.questions(split)]
    assert len({q.question for q in every}) == len(every)
    friends = world.facts()["friend"]
    assert all(person != friend for person, friend in friends.items())
