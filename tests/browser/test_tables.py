"""Tables sort and narrow as a reader expects; what was chosen stands in the address; the keyboard is enough."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from runkit.page.charts import Dot, dots
from runkit.page.document import Section, page
from runkit.page.markup import element, filters, table
from runkit.page.numbers import NONE, real, share, span

from tests.browser.conftest import Open

LAYERS = 12
NUMBERS = [0.5, -3.0, None, 1200.0, 0.02, -0.02, 17.25, None, 0.0]
NAMES = [f"L{i % LAYERS}N{i}" for i in range(27)]
MANY = 250
EVIL = "<img src=x onerror=document.title='owned'>"
TOPICS = ["add", "add, equals", NONE, f"{EVIL}", "subtract"]


def value(i: int) -> float | None:
    return None if (number := NUMBERS[i % len(NUMBERS)]) is None else number + i // len(NUMBERS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        [name, i % LAYERS, TOPICS[i % 5], real(value(i), 4), f"{i * 1000:,}", share(value(i)), span(value(i), 9)]
        for i, name in enumerate(NAMES)
    ]
    head = ["neuron", "layer", "topic", "value", "n", "share", "95 %"]
    chosen = filters({"layer": "every layer", "topic": "every topic"})
    long = table(head, rows, id="neurons", data_filters=chosen)
    short = table(["arm", "n"], [["b", 2], ["a", 10], ["c", 1]], id="short")
    chart = dots([Dot(name, value, cells=[real(value)]) for name, value in (("x", 0.2), ("y", 0.9), ("z", 0.4))],
                 ["arm", "accuracy", "number"], (0, 1), id="chart")  # fmt: skip
    cards = [element("article", element("h3", name), class_="card", data_topic="|".join(TOPICS[i % 5].split(", ")))
             for i, name in enumerate(NAMES)]  # fmt: skip
    listed = element("div", cards, data_filters=filters({"topic": "every topic"}))
    many = table(["row", "kind"], [[f"r{i}", f"k{i % 2}"] for i in range(MANY)], id="rows")
    sections = [
        Section("long", "Long", [long]),
        Section("few", "Few", [short, chart]),
        Section("cards", "Cards", [listed]),
        Section("many", "Many", [many]),
    ]
    place = tmp_path_factory.mktemp("tables") / "page.html"
    place.write_text(page("Tables", "over", ["found"], sections), "utf-8")
    return place


@pytest.fixture
def there(place: Path, opened: Open) -> Callable[[str], Page]:
    return lambda address: opened(f"{place.as_uri()}{address}")


def names(page: Page, table: str = "neurons") -> list[str]:
    return page.locator(f"#{table} tbody tr:visible th").all_inner_texts()


def by_value(turned: bool) -> list[str]:
    known = [name for i, name in enumerate(NAMES) if value(i) is not None]
    known.sort(key=lambda name: value(NAMES.index(name)) or 0, reverse=not turned)
    return known + [name for i, name in enumerate(NAMES) if value(i) is None]


@pytest.mark.parametrize("column", ["value", "share", "95 %"])
def test_numbers_sort_as_numbers_and_what_is_missing_stays_last(column: str, there: Callable[[str], Page]):
    page = there("")
    button = page.locator("#neurons").get_by_role("button", name=column, exact=True)
    button.focus()
    for order, stand in ((by_value(False), "descending"), (by_value(True), "ascending"), (NAMES, "none")):
        page.keyboard.press("Enter")
        assert names(page) == order
        expect(button.locator("..")).to_have_attribute("aria-sort", stand)


def test_words_sort_as_words_with_numbers_in_them(there: Callable[[str], Page]):
    page = there("")
    page.locator("#neurons").get_by_role("button", name="neuron").click()
    assert names(page) == sorted(NAMES, key=lambda name: [int(part) for part in name[1:].split("N")])
    page.locator("#neurons").get_by_role("button", name="n", exact=True).click()
    assert names(page) == NAMES[::-1], "a thousand is more than 999"
    page.locator("#short").get_by_role("button", name="arm").click()
    assert names(page, "short") == ["a", "b", "c"]
    page.locator("#chart").get_by_role("button", name="number").click()
    assert names(page, "chart") == ["y", "z", "x"]
    assert page.locator("#chart tfoot td.scale").inner_text().split() == ["0", "0.25", "0.5", "0.75", "1"]


def test_rows_narrow_by_choice_and_by_words(there: Callable[[str], Page]):
    page = there("")
    bar = page.locator("#long .filter")
    expect(bar.get_by_role("status")).to_have_text("27 of 27")
    assert page.locator("#few .filter").count() == 0, "three rows need no search"
    topics = bar.get_by_label("every topic")
    assert topics.locator("option").all_inner_texts() == ["every topic", EVIL, "add", "equals", "subtract"]
    assert bar.get_by_label("every layer").locator("option").all_inner_texts()[1:] == [str(i) for i in range(LAYERS)]
    topics.select_option("equals")
    assert names(page) == [name for i, name in enumerate(NAMES) if i % 5 == 1]
    bar.get_by_role("searchbox").fill("L1N")
    assert names(page) == [name for i, name in enumerate(NAMES) if i % 5 == 1 and name.startswith("L1N")]
    assert page.url.endswith("#neurons:topic=equals&q=L1N")
    page.locator("#neurons").get_by_role("button", name="layer").click()
    assert len(names(page)) == 1, "sorted rows stay hidden"
    bar.get_by_role("searchbox").fill("nothing like it")
    expect(bar.get_by_role("status")).to_have_text("0 of 27")


def test_an_address_shows_what_was_chosen(there: Callable[[str], Page]):
    page = there("#cards:topic=add&q=n1")
    shown = [name for i, name in enumerate(NAMES) if i % 5 < 2 and "N1" in name]
    assert page.locator("article:visible").all_inner_texts() == shown
    expect(page.locator("#cards .filter")).to_be_in_viewport()
    assert len(names(page)) == 27, "the other list is as it was"
    page.goto(page.url.partition("#")[0] + "#neurons:layer=3")
    assert names(page) == [name for name in NAMES if name.startswith("L3N")]
    page.go_back()
    assert page.locator("article:visible").all_inner_texts() == shown


def test_a_long_table_shows_a_hundred_rows_and_more_when_asked(there: Callable[[str], Page]):
    page = there("")
    status = page.locator("#many .filter").get_by_role("status")
    more = page.locator("#many").get_by_role("button", name="more")
    expect(status).to_have_text("250 of 250, the first 100 shown")
    assert names(page, "rows") == [f"r{i}" for i in range(100)]
    page.locator("#rows").get_by_role("button", name="row").click()
    page.locator("#rows").get_by_role("button", name="row").click()
    assert names(page, "rows") == [f"r{i}" for i in range(249, 149, -1)], "the first of all, not of those shown"
    more.click()
    expect(more).to_have_text("show 50 more")
    more.click()
    expect(more).to_be_hidden()
    assert len(names(page, "rows")) == MANY
    page.locator("#many").get_by_role("searchbox").fill("k1")
    expect(status).to_have_text("125 of 250, the first 100 shown")
    page.locator("#many").get_by_role("searchbox").fill("r7")
    assert names(page, "rows") == ["r79", "r78", "r77", "r76", "r75", "r74", "r73", "r72", "r71", "r70", "r7"]
    expect(more).to_be_hidden()
