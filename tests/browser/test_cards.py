"""The cards of the reports: search and filters leave the right ones, addresses lead to them, and nothing is lost."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import reports
from tests.browser.conftest import Open
from tests.packages.memreason import told_story
from tests.pipelines import atlas_runs
from tests.shared.runkit.page_reader import Node, read

Fits = Callable[[Node], bool]
EACH = re.compile(r"mlp_post\.2\.\d+")


def of(card: Node, key: str) -> list[str]:
    return (card.attributes[f"data-{key}"] or "").split("|")


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ("arm=none", lambda card: of(card, "arm") == ["none"]),
        ("outcome=wrong&kinds=memory", lambda card: of(card, "outcome") == ["wrong"] and "memory" in of(card, "kinds")),
        ("blame=memory+failed", lambda card: "memory failed" in of(card, "blame")),
        ("q=OWNED", lambda card: told_story.HOSTILE in card.text),
    ],
)
def test_traces_of_memreason(asked: str, fits: Fits, page_of: Callable[[str], Path], opened: Open):
    place = page_of("memreason")
    cards = read(place.read_text("utf-8")).all("article", class_="trace")
    page = opened(f"{place.as_uri()}#traces:{asked}")
    expected = [card.one("h3").text for card in cards if fits(card)]
    assert 0 < len(expected) < len(cards)
    assert page.locator(".trace:visible h3").all_text_contents() == expected
    expect(page.locator("#traces").get_by_role("status")).to_have_text(f"{len(expected)} of {len(cards)}")


def test_cards_of_cot_neurons(page_of: Callable[[str], Path], opened: Open):
    page = opened(page_of("cot-neurons").as_uri())
    bar = page.locator("#cards .filter")
    bar.get_by_label("every layer").select_option("0")
    expect(page.locator(".card:visible h3")).to_have_text(["L0N3− <i>equals (0.50)"])
    bar.get_by_label("every layer").select_option("")
    bar.get_by_label("every topic").select_option("add")
    expect(page.locator(".card:visible h3")).to_have_text(["L1N7+ add (0.75), <i>equals (0.25)"])


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("q=crimson", {0}),
        ("q=kind+7", {7, 17}),
        ("q=mlp_post.2.1-", {1}),
        ("q=crimson&layer=2&polarity=1", {0}),
        ("q=nowhere", set()),
        ("q=kind&score=0.8", {20, 21, 22, 23, 24}),
    ],
)
def test_features_of_expgen(asked: str, found: set[int], page_of: Callable[[str], Path], opened: Open):
    page = opened(f"{page_of('expgen').as_uri()}#{asked}")
    assert features(page) == {f"mlp_post.2.{number}" for number in found}
    expect(page.locator("#explorer .filter").get_by_role("status")).to_have_text(
        f"{len(found)} of {reports.FEATURES} features"
    )
    assert page.locator(".card img").count() == 0
    assert (f"Crimson {reports.HOSTILE}" in page.locator("#explorer").inner_text()) == (0 in found)


def test_features_of_expgen_by_hand(page_of: Callable[[str], Path], opened: Open):
    page = opened(page_of("expgen").as_uri())
    assert len(features(page)) == 20
    page.get_by_role("button", name="more").click()
    assert len(features(page)) == reports.FEATURES
    expect(page.get_by_role("button", name="more")).to_be_hidden()
    page.get_by_label("sort").select_option("worst")
    assert page.locator(".card").first.get_attribute("data-name") == "mlp_post.2.0"
    page.get_by_label("search").fill("kind 7")
    assert features(page) == {"mlp_post.2.7", "mlp_post.2.17"}
    page.locator("#scores table.told a").first.click()
    expect(page.get_by_label("search")).to_be_in_viewport()
    assert features(page) == set(EACH.findall(page.locator("#scores table.told a").first.inner_text()))


def test_neurons_of_the_atlas(page_of: Callable[[str], Path], opened: Open):
    page = opened(page_of("atlas").as_uri())
    bar = page.locator("#neurons .filter")
    bar.get_by_label("every label").select_option("subtract")
    rows = page.locator("#atlas tbody tr:visible th")
    assert rows.all_inner_texts() == [f"L{layer}N{n}+" for layer, n in atlas_runs.LABELLED["subtract"]]
    bar.get_by_label("every label").select_option("")
    bar.get_by_role("searchbox").fill("L1N39")
    assert rows.all_inner_texts() == ["L1N39+", "L1N39−"]
    bar.get_by_role("searchbox").fill("")
    page.locator("#atlas").get_by_role("button", name="neuron").click()
    assert rows.all_inner_texts()[:5] == ["L0N0−", "L0N0+", "L0N1−", "L0N1+", "L0N2−"]


def test_the_table_of_control_fits(page_of: Callable[[str], Path], opened: Open):
    table = opened(page_of("memreason").as_uri()).locator("#steering-0")
    wide, room = table.evaluate("each => [each.offsetWidth, each.parentElement.clientWidth]")
    assert 900 < wide <= room


def features(page: Page) -> set[str]:
    return {str(card.get_attribute("data-name")) for card in page.locator(".card").all()}
