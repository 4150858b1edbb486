"""`expgen serve` in a browser: a text that is pasted, and where features fire in it, as the model itself says."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import uvicorn
from expgen.options import ReportOptions, ServeOptions
from expgen.report import report
from expgen.serve import _application, address, listening
from playwright.sync_api import expect
from specimens import families

from tests.browser.conftest import Open
from tests.packages.expgen import made

TEXT = "the red car <b>sings</b>"
TEXTS = {"train": ["the red car", "a blue bird"], "valid": ["red"], "test": ["blue"]}
LAYER = 1
NAME = f"mlp_post.{LAYER}.5+"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REASONSCOPE_MLFLOW", "off")
        model = families.save("llama", place / "tiny")
        features = [made.on("red")] * families.Shape().d_mlp
        exemplars = made.store(place / "ex", TEXTS, features, model="tiny", layer=LAYER)
        folder = report(ReportOptions(exemplars=str(exemplars), out=place / "re"))
    made_of = _application(ServeOptions(model=str(model), report=str(folder), port=0))
    with listening("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(made_of, log_level="warning"))
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        serving.start()
        yield address(listener)
        server.should_exit = True
        serving.join()


def plain() -> tuple[list[str], np.ndarray]:
    """Tokens of the text, and what the layer's neurons do at each, by Hugging Face alone."""
    hf: Any = families.tiny_model("llama")
    tokenizer = families.tiny_tokenizer(hf.config.vocab_size)
    told = tokenizer(TEXT, return_offsets_mapping=True)
    seen: list[torch.Tensor] = []
    hook = hf.model.layers[LAYER].mlp.down_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        hf(input_ids=torch.tensor([told["input_ids"]]))
    hook.remove()
    return [TEXT[a:b] for a, b in told["offset_mapping"]], seen[0][0].numpy()


def test_a_pasted_text_is_answered(home: str, opened: Open):
    page = opened(home)
    page.get_by_role("button", name="which features fire?").click()
    expect(page.get_by_text("Paste a text above first.")).to_be_visible()
    page.get_by_label("text", exact=True).fill(TEXT)
    page.get_by_role("button", name="which features fire?").click()
    rows = page.locator(".pasted tbody tr")
    expect(rows).to_have_count(30)
    sigmas = [float(each) for each in rows.locator("td:nth-child(3)").all_inner_texts()]
    assert sigmas == sorted(sigmas, reverse=True)
    assert page.locator(".pasted b").count() == 0, "a text is text"

    rows.first.get_by_role("link").click()
    expect(page.get_by_label("search")).to_have_value(rows.first.get_by_role("link").inner_text())
    page.get_by_label("search").fill(NAME)
    pieces, values = plain()
    card = page.locator(".card .plus")
    card.get_by_role("button", name="in your text").click()
    shown = card.locator(".asked .text span")
    expect(shown.first).to_be_visible()
    assert "".join(shown.all_text_contents()) == TEXT
    assert card.locator(".asked .peak").text_content() == pieces[int(values[:, 5].argmax())]
    told = [float(str(each.get_attribute("title")).replace("−", "-")) for each in shown.all()]
    np.testing.assert_allclose(told, values[:, 5], rtol=6e-3, atol=1e-6)
    assert page.title() == "What the neurons of tiny respond to"


def test_a_text_that_is_too_long_is_refused_in_words(home: str, opened: Open, complaints: list[str]):
    page = opened(f"{home}#text={'red+' * 5000}")
    expect(page.get_by_text("tokens, and the model reads")).to_be_visible()
    assert [each for each in complaints if "422" not in each] == []
    complaints.clear()  # the browser itself logs the refusal
