"""The server says of a pasted text what a plain Hugging Face forward says, and answers only to its own page."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import actkit
import httpx
import numpy as np
import pytest
import torch
from actkit.harvest.identity import identity
from expgen.cli import main
from expgen.options import ReportOptions, ServeOptions
from expgen.report import report
from expgen.serve import _application, listening, serve
from expgen.subject import described
from runkit.errors import UsageError
from specimens import families
from starlette.testclient import TestClient

from tests import terminal
from tests.packages.expgen import made
from tests.shared.runkit.page_reader import read
from tests.shared.runkit.serving import eventually

TEXT = "the red car 🙂 sings"
TEXTS = {"train": ["the red car", "a blue bird"], "valid": ["red"], "test": ["blue"]}
LAYER = 1
PEAK = 2.0


class Served(NamedTuple):
    client: TestClient
    options: ServeOptions
    exemplars: Path
    values: np.ndarray  # of the layer's neurons at each token of TEXT, by a plain forward
    ids: list[int]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, store: str) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store)
        model = families.save("llama", place / "tiny")
        features = [made.on("red", strength=PEAK)] * families.Shape().d_mlp
        exemplars = made.store(place / "ex", TEXTS, features, model="tiny", layer=LAYER)
        folder = report(ReportOptions(exemplars=str(exemplars), out=place / "re"))
    options = ServeOptions(model=str(model), report=str(folder), port=0)
    ids, values = plain(TEXT)
    with TestClient(_application(options), base_url="http://127.0.0.1:8765") as client:
        yield Served(client, options, exemplars, values, ids)


def plain(text: str) -> tuple[list[int], np.ndarray]:
    hf: Any = families.tiny_model("llama")
    ids = families.tiny_tokenizer(hf.config.vocab_size)(text)["input_ids"]
    seen: list[torch.Tensor] = []
    hook = hf.model.layers[LAYER].mlp.down_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        hf(input_ids=torch.tensor([ids]))
    hook.remove()
    return ids, seen[0][0].numpy()


@pytest.mark.parametrize(("polarity", "sign"), [("+", 1), ("-", -1)])
def test_a_feature_does_what_the_model_itself_does(served: Served, polarity: str, sign: int):
    answer = served.client.post("/api/fires", json={"text": TEXT, "feature": f"mlp_post.1.5{polarity}"}).json()
    np.testing.assert_allclose(answer["activations"], sign * served.values[:, 5], atol=1e-5)
    assert len(answer["tokens"]) == len(served.ids)
    assert "".join(token["text"] for token in answer["tokens"]) == TEXT  # an emoji that is several tokens stands once
    assert all(0 <= token["start"] <= token["end"] <= len(TEXT) for token in answer["tokens"])


def test_the_strongest_are_those_farthest_from_what_they_do(served: Served):
    found = served.client.post("/api/fires", json={"text": TEXT}).json()["features"]
    known = np.concatenate([made.on("red", strength=PEAK)(made.words(text)) for text in TEXTS["train"]])
    sign = np.array([1, -1])[:, None, None]
    sigmas = np.where(sign * served.values > 0, sign * (served.values - known.mean()) / known.std(), -np.inf)
    order = np.argsort(-sigmas.max(1).ravel())[: len(found)]
    assert [each["sigmas"] for each in found] == pytest.approx(sigmas.max(1).ravel()[order].tolist(), rel=1e-4)
    for each, number in zip(found[:5], order, strict=False):
        pole, neuron = divmod(int(number), served.values.shape[1])
        at = int(sigmas[pole, :, neuron].argmax())
        activation = (-1) ** pole * served.values[at, neuron]
        assert (each["name"], each["token"]) == (f"mlp_post.1.{neuron}{'+-'[pole]}", at)
        assert each["activation"] == pytest.approx(activation, abs=1e-5)
        assert each["share"] == pytest.approx(activation / ((-1) ** pole * known).max(), rel=1e-3)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"text": TEXT, "feature": "mlp_post.1.999+"}, "mlp_post.1 has features 0 to"),
        ({"text": TEXT, "feature": "mlp_post.0.1+"}, "no mlp_post.0 is served; there is mlp_post.1"),
        ({"text": TEXT, "feature": "neuron 3"}, "write SOURCE.LAYER.NEURON"),
        ({"text": "red " * 5000}, "tokens, and the model reads"),
    ],
)
def test_what_cannot_be_told_is_said(served: Served, asked: dict[str, str], says: str):
    reply = served.client.post("/api/fires", json=asked)
    assert reply.status_code == 422
    assert says in reply.json()["detail"]


def test_the_database_answers(served: Served):
    found = served.client.get("/api/search", params={"q": "red"}).json()
    assert "mlp_post.1.0+" in [each["name"] for each in found]
    assert served.client.get("/api/search", params={"q": '") OR *'}).json() == []  # no syntax, only words
    told = served.client.get("/api/feature/mlp_post.1.0+").json()
    assert told["name"] == "mlp_post.1.0+"
    trained = [(each["rank"], each["token"]) for each in told["exemplars"] if each["split"] == "train"]
    assert trained[0] == (0, " red")
    assert served.client.get("/api/feature/mlp_post.9.9+").status_code == 404


def test_the_page_may_ask_its_own_server_alone(served: Served):
    page = served.client.get("/")
    policy = next(each for each in read(page.text).all("meta") if "http-equiv" in each.attributes)
    assert (policy.attributes["content"] or "").startswith("default-src 'none'; connect-src 'self'; style-src")
    assert '<html lang="en" data-served>' in page.text
    assert "access-control-allow-origin" not in page.headers
    assert served.client.get("/", headers={"Host": "elsewhere.example"}).status_code == 400
    asked = {"Origin": "http://elsewhere.example", "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "content-type"}  # fmt: skip
    assert "access-control-allow-origin" not in served.client.options("/api/fires", headers=asked).headers


def test_another_model_is_refused(served: Served):
    hf = families.tiny_model("llama")
    known = {"dtype": "float32", "weights": "0"}
    about = {"model": "tiny", "revision": None, "identity": known}
    with pytest.raises(UsageError, match=r"--model .* is not the model described, tiny:\s+weights: 0 in the store"):
        described(served.options, about)
    true = identity(actkit.load(hf))
    assert described(served.options, about | {"identity": true}).dims.d_mlp == families.Shape().d_mlp


def test_an_address_in_use_is_said(served: Served):
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"--port {port} cannot be listened on \(.*in use.*\): take another port"):
            serve(served.options.model_copy(update={"port": port}))


def _command(words: list[str], said: Path) -> None:
    terminal.enter(said)
    sys.argv = ["expgen", *words]
    main()


def test_a_process_serves_and_ends_quietly(processes, served: Served, tmp_path: Path):
    words = ["serve", "--model", served.options.model, "--report", served.options.report, "--port", "0"]
    said = tmp_path / "said"
    said.touch()
    process = processes.Process(target=_command, args=(words, said))
    process.start()
    try:
        eventually(lambda: said.read_text().endswith("(Ctrl-C ends it)\n"))
        first = said.read_text()
        serving = first.splitlines()[-1]
        assert serving.startswith("serving on http://127.0.0.1:")
        address = serving.split()[2]
        answer = httpx.post(f"{address}api/fires", json={"text": TEXT, "feature": "mlp_post.1.5+"}, timeout=60)
        np.testing.assert_allclose(answer.json()["activations"], served.values[:, 5], atol=1e-5)
        os.kill(process.pid, signal.SIGINT)
        process.join(60)
    finally:
        process.kill()
    assert process.exitcode == 0
    assert said.read_text() == f"{first}ended\n"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(address.rstrip("/").rpartition(":")[2])))
