"""A budget is kept to the call, whatever is under way at the same time, and what it paid for is not lost."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmkit import Budget, BudgetSpent, Local, Prices, Reply, ask
from llmkit.budget import Account, Spending, Spent
from llmkit.errors import UsageError

from tests.shared.llmkit.asking import backend, questions, right
from tests.shared.llmkit.server import Body, FaultyServer, always, first, seeded


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "answers.db"


def asked(server: FaultyServer, cache: Path, budget: Budget, count: int = 40, **options: object) -> list[Reply]:
    """Replies up to where the budget ended the job."""
    replies: list[Reply] = []
    job = ask(questions(count), backend(server, **options), cache=cache, budget=budget)
    with pytest.raises(BudgetSpent) as caught:
        replies.extend(job)
    good = [reply for reply in replies if reply.status != "error"]
    assert (caught.value.answered, caught.value.total) == (len(good), count)
    assert f"{len(good)} of {count} questions are answered" in str(caught.value)
    return replies


@pytest.mark.parametrize("calls", [1, 7, 8, 9, 39])
def test_calls_to_the_call_with_eight_at_a_time(calls: int, cache: Path):
    with FaultyServer(right, delay=0.01) as server:
        replies = asked(server, cache, Budget(calls=calls))
        assert server.calls == calls == len(replies)
        rest = list(ask(questions(40), backend(server), cache=cache, budget=Budget(calls=40 - calls)))
        assert server.calls == 40
        assert sum(reply.cached for reply in rest) == calls


def test_repeated_and_second_askings_count(cache: Path):
    with FaultyServer(right, plan=seeded(0.5, ["500", "429", "malformed", "truncate"]), delay=0.005) as server:
        replies = asked(server, cache, Budget(calls=25))
        assert server.calls == 25
        assert len(replies) < 25
        list(ask(questions(40), backend(server), cache=cache))
        assert max(server.answered.values()) == 1


def test_calls_that_reach_nobody_are_free(cache: Path):
    with FaultyServer(right) as server:
        gone = backend(server)
    replies = list(ask(questions(2), gone, cache=cache, budget=Budget(calls=1)))
    assert {reply.status for reply in replies} == {"error"}
    assert {reply.attempts for reply in replies} == {7}


def tokens_of(body: Body) -> dict[str, int]:
    return {"prompt_tokens": sum(len(each["content"]) for each in body["messages"]), "completion_tokens": 20}


def test_tokens_never_pass_the_budget(cache: Path):
    """The server counts as much as can be; the job stops while the next answer might still be too long."""
    with FaultyServer(right, usage=tokens_of, delay=0.01) as server:
        replies = asked(server, cache, Budget(tokens=2000), max_tokens=20)
        spent = sum(reply.prompt_tokens + reply.completion_tokens for reply in replies)
        assert server.calls == len(replies)
    assert 1200 < spent <= 2000


def test_tokens_that_nobody_counted_are_taken_for_the_most(cache: Path):
    with FaultyServer(right, usage=lambda body: None) as server:
        replies = asked(server, cache, Budget(tokens=3000), max_tokens=1000)
    assert len(replies) == 2
    assert {(reply.prompt_tokens, reply.completion_tokens) for reply in replies} == {(0, 0)}


def test_cost_never_passes_the_budget(cache: Path):
    prices = Prices(prompt=3.0, completion=60.0)
    with FaultyServer(right, usage=tokens_of, delay=0.01) as server:
        replies = asked(server, cache, Budget(cost=0.02, prices=prices), max_tokens=20)
        cost = sum(prices.cost(reply.prompt_tokens, reply.completion_tokens) for reply in replies)
    assert 0.01 < cost <= 0.02


def test_unheard_answers_are_paid_for(cache: Path):
    """The connection broke after the request was sent: the server may have charged for the answer."""
    with FaultyServer(right, plan=first("half", 99)) as server:
        replies = asked(server, cache, Budget(tokens=6000), max_tokens=1000, retries=20)
        assert replies == []
        assert server.calls == 4
        server.plan = first("500", 99)
        (reply,) = ask(
            questions(1, 50), backend(server, max_tokens=1000, retries=9), cache=cache, budget=Budget(tokens=6000)
        )
        assert (reply.status, reply.attempts) == ("error", 10)  # answers that were declined cost no tokens


@pytest.mark.parametrize("budget", [Budget(calls=0), Budget(tokens=0), Budget(cost=0, prices=Prices(1, 1))])
def test_with_nothing_to_spend_the_cache_still_gives(budget: Budget, cache: Path, tmp_path: Path):
    with FaultyServer(right) as server:
        list(ask(questions(5), backend(server), cache=cache))
        replies = asked(server, cache, budget, count=9)
        assert len(replies) == 5
        assert server.calls == 5
        assert len(list(ask(questions(5), backend(server), cache=cache, budget=budget))) == 5
    model = tmp_path / "no model"
    model.mkdir()
    with pytest.raises(BudgetSpent, match="0 of 1 questions"):  # and no model is loaded for it
        list(ask(questions(1), Local(model), cache=cache, budget=budget))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"calls": -1}, "the budget's calls is -1"),
        ({"tokens": float("nan")}, "the budget's tokens is nan"),
        ({"cost": 1.0}, "a budget of cost needs prices"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(options: dict, complaint: str):
    with pytest.raises(UsageError, match=complaint):
        Budget(**options)


@pytest.mark.parametrize("prices", [(-1, 1), (1, -1), (float("nan"), 1)])
def test_prices_below_nothing_are_refused(prices: tuple[float, float]):
    with pytest.raises(UsageError, match="prices are 0 or more"):
        Prices(*prices)


def test_a_job_within_its_budget_says_nothing(cache: Path):
    with FaultyServer(right, plan=always("drip")) as server:
        assert len(list(ask(questions(3), backend(server), cache=cache, budget=Budget(calls=3)))) == 3


@settings(max_examples=60)
@given(
    limit=st.integers(0, 60),
    jobs=st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20), st.integers(0, 4)), max_size=25),
)
def test_the_account_is_never_overdrawn_and_never_stuck(limit: int, jobs: list[tuple[int, int, int]]):
    """Claims of all sizes, settled in any order for at most what was claimed: at no moment is more out than allowed."""
    out = spent = 0

    async def one(account: Account, most: int, used: int, steps: int) -> None:
        nonlocal out, spent
        try:
            claim = await account.reserve(Spending(1, most, 0))
        except Spent:
            return
        out += most
        assert spent + out <= limit
        for _ in range(steps):
            await asyncio.sleep(0)
        out -= most
        spent += min(used, most)
        account.settle(claim, Spending(1, min(used, most), 0))

    async def all_of_them() -> None:
        account = Account(Budget(tokens=limit))
        await asyncio.wait_for(asyncio.gather(*(one(account, *job) for job in jobs)), 10)

    asyncio.run(all_of_them())
    assert spent <= limit
    assert out == 0
