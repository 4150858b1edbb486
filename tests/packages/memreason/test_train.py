"""What `train` learns from, what it changes, what it keeps, and what it refuses."""

from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import actkit
import numpy as np
import polars as pl
import pytest
import torch
from memreason import arms
from memreason.codec import Codec, Rendered
from memreason.options import EvaluateOptions, TrainOptions
from memreason.student import Student
from memreason.trace import Item, Step
from memreason.train import train
from memreason.training import adapters, feed, looks, plans, saving
from memreason.training.feed import Feed
from memreason.training.lessons import Lessons
from memreason.training.rows import resized
from memreason.training.trainer import Supervised, Trainer
from memreason.unwritable import unwritable
from runkit import journal
from runkit.errors import DataError, UsageError
from runkit.record import StageRun
from runkit.team import Team
from safetensors.torch import load_file
from sklearn.cluster import KMeans
from specimens import families
from transformers import AutoModelForCausalLM

from tests.packages.memreason import made

CODEC = Codec(made.tokenizer(), arms.scheme("typed", general=1, special=2))
TEXTS = ("Paris lies in France", "Rome lies in Italy", "so it is another country")


def options(**given: Any) -> TrainOptions:
    small = {"data": "data", "model": "base", "epochs": 2, "batch_size": 5, "looks": 1, "look_at": 2, "mix": 2,
             "learning_rate": 1e-2, "rank": 4, "device": "cpu", "dropout": 0.1}  # fmt: skip
    return TrainOptions.model_validate(small | given)


@pytest.fixture
def place(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(StageRun, "figure", lambda *_: None)  # it takes longer than all else
    made.base(workplace / "base")
    made.traces(workplace / "data", texts=TEXTS)
    return workplace


def trainer(lm: Any, rows: list[Rendered], texts: list[Rendered], asked: TrainOptions, learner: Any = None) -> Trainer:
    return Trainer(lm, learner or lm, Feed(Lessons(rows, texts), asked), asked, Team("cpu"))


def test_what_is_learnt_is_what_a_person_would_mark():
    trace = made.items()[0].trace
    whole = CODEC.render(trace)
    words = CODEC.tokenizer.convert_ids_to_tokens(whole.ids)
    general, memory, reason = "<general_0>", ["<memory_0>", "<memory_1>"], ["<reason_0>", "<reason_1>"]
    question = ["Question:", *trace.question.split(), "\n"]
    answer = [general, "<answer_0>", "<answer_1>", "The", "answer", "is:", str(trace.answer), "\n", "<eos>"]
    kinds = [memory, memory, reason]
    told = [[general, *kind, *step.text.split(), "\n"] for kind, step in zip(kinds, trace.steps, strict=True)]
    assert words == [*question, *chain.from_iterable(told), *answer]
    batch = feed.collate([Rendered([7, 8, 9], 1, ()), whole])
    learnt = whole.ids[len(question) :]
    assert batch.targets.tolist() == [8, 9, *learnt]
    first = batch.ids.shape[1] + len(question) - 1  # the last token of the question tells the first that is learnt
    assert batch.places.tolist() == [0, 1, *range(first, first + len(learnt))]


def test_the_loss_of_a_step_is_that_of_hugging_face_over_all_its_tokens():
    lm = made.model(len(CODEC.tokenizer))
    rows = [CODEC.render(item.trace) for item in made.items()]
    teacher = trainer(lm, rows, [CODEC.plain(text) for text in TEXTS], options(mode="full", batch_size=4, accumulate=2))
    batches = teacher._feed.step(0)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    total = count = 0.0
    for row in (row for batch in batches for row in batch):
        labels = torch.tensor([row.labels])
        n = int((labels[:, 1:] != -100).sum())
        total += lm(input_ids=torch.tensor([row.ids]), labels=labels).loss.item() * n
        count += n
    assert teacher.advance().item() == pytest.approx(total / count, rel=1e-5)


def test_a_soft_cap_is_part_of_the_loss(workplace: Path):
    families.save("gemma2", workplace / "capped")
    lm: Any = AutoModelForCausalLM.from_pretrained(workplace / "capped")
    lm.config.final_logit_softcapping = 0.05
    row = Rendered(list(range(10)), 4, ())
    found = Supervised(lm, lm)(*feed.collate([row]))
    plain = lm(torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss
    assert found.item() / 6 == pytest.approx(plain.item())


def test_every_epoch_takes_every_trace_once_and_texts_in_turn():
    rows = [Rendered([0] * (n + 2), 1, ()) for n in range(13)]
    texts = [Rendered([1, n], 1, ()) for n in range(3)]
    stream = Feed(Lessons(rows, texts), options(batch_size=4, accumulate=2, mix=2, epochs=3))
    assert (stream.per_epoch, stream.steps) == (2, 6)
    taken = [stream.step(number) for number in range(6)]
    for epoch in range(3):
        lengths = [len(row.ids) for step in taken[2 * epoch : 2 * epoch + 2] for batch in step[:-1] for row in batch]
        assert sorted(lengths) == list(range(2, 15))
    said = [row.ids[1] for step in taken for row in step[-1]]
    assert [sorted(said[at : at + 3]) for at in range(0, 12, 3)] == [[0, 1, 2]] * 4
    assert [[row.ids for row in batch] for batch in stream.step(3)] == [[row.ids for row in b] for b in taken[3]]


@pytest.mark.parametrize("tied", [False, True])
def test_mode_tokens_changes_new_rows_and_nothing_else(place: Path, tied: bool):
    made.base(place / "padded", pad_rows=20, tied=tied)
    folder = train(options(mode="tokens", model="padded", out=place / "run"))
    before = AutoModelForCausalLM.from_pretrained(place / "padded").state_dict()
    student = Student.load(EvaluateOptions(data="data", model="run", device="cpu"))
    after = student.model.hf.state_dict()
    new = student.codec.new_ids
    assert max(new) < len(made.tokenizer()) + 20
    assert before.keys() == after.keys()
    words = {"model.embed_tokens.weight", "lm_head.weight"}
    for name in before:
        same = (before[name] == after[name]).reshape(len(before[name]), -1).all(1)
        assert np.flatnonzero(~same.numpy()).tolist() == (new if name in words else []), name
    hf: Any = student.model.hf
    assert (hf.get_input_embeddings().weight is hf.get_output_embeddings().weight) == tied
    found = load_file(Path(folder or "") / "student" / adapters.WEIGHTS)
    assert [list(each.shape) for each in found.values()] == [[len(new), 32]] * (1 if tied else 2)


def test_rates_of_rows_and_adapters_and_no_decay_of_rows():
    lm = made.model(len(made.tokenizer()))
    resized(lm, CODEC, known=made.tokenizer())
    asked = options(mode="lora+tokens", learning_rate=1e-3, token_rate=1e-2, warmup=0, weight_decay=0.5, dropout=0,
                    clip=1e9)  # fmt: skip
    learner = adapters.learner(actkit.load(lm, tokenizer=CODEC.tokenizer), CODEC.new_ids, asked)
    rows = [CODEC.render(item.trace) for item in made.items()]
    before = {name: each.detach().clone() for name, each in learner.named_parameters()}
    trainer(lm, rows, [], asked, learner).advance()
    for name, each in learner.named_parameters():
        moved = (each - before[name]).abs().max().item()
        if adapters.is_row(name):
            assert moved == pytest.approx(1e-2, rel=1e-3), name  # the first step of Adam is the rate itself
        elif "lora_B" in name:
            assert moved == pytest.approx(1e-3, rel=1e-3), name
        elif "lora_A" in name:  # no gradient yet, as B is 0: only decay
            torch.testing.assert_close(each, before[name] * (1 - 1e-3 * 0.5))
        else:
            assert moved == 0, name


@pytest.mark.parametrize(
    ("family", "targets", "wanted"),
    [
        ("llama", "attention", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("llama", "mlp", {"gate_proj", "up_proj", "down_proj"}),
        ("gpt2", "attention", {"c_attn", "attn.c_proj"}),
        ("gpt2", "mlp", {"c_fc", "mlp.c_proj"}),
        ("gpt2", "all", {"c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"}),
        ("opt", "mlp", {"fc1", "fc2"}),
        ("gpt_neox", "attention", {"query_key_value", "dense"}),
    ],
)
def test_adapters_are_where_they_are_asked_for(family: str, targets: str, wanted: set[str], workplace: Path):
    families.save(family, workplace / "tiny")
    model = actkit.load(workplace / "tiny", device="cpu")
    learner = adapters.learner(model, [], options(mode="lora", arm="none", targets=targets))
    adapted = [name.partition(".lora_A")[0] for name, _ in learner.named_parameters() if ".lora_A." in name]
    ends = {end for end in wanted for name in adapted if name.endswith(f".{end}")}
    assert ends == wanted
    assert len(adapted) == len(wanted) * model.dims.layers


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(place: Path):
    runs = {name: train(options(seed=seed, out=place / name)) for name, seed in (("a", 1), ("b", 1), ("c", 2))}
    read = {name: _bytes(Path(str(folder))) for name, folder in runs.items()}
    assert read["a"] == read["b"]
    assert read["a"].keys() == read["c"].keys()
    assert read["a"]["student/adapter_model.safetensors"] != read["c"]["student/adapter_model.safetensors"]


def _bytes(folder: Path) -> dict[str, bytes]:
    kept = [*folder.glob("student/*"), *folder.glob("tables/*.parquet")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("mode", ["full", "lora+tokens"])
def test_stopped_at_any_point_and_started_again_it_ends_with_the_same_bytes(
    place: Path, mode: str, monkeypatch: pytest.MonkeyPatch
):
    """The whole grid of real kills is in tests/faults."""
    asked = {"mode": mode, "save_every": 2, "looks": 2}
    calm = train(options(out=place / "calm", **asked))
    advance, write = Trainer.advance, looks.Looks.write
    advanced, written = iter(range(100)), iter(range(100))

    def dies(self: Trainer) -> Any:
        if next(advanced) in (0, 5):
            raise Killed
        return advance(self)

    def dies_too(self: looks.Looks, look: Any) -> None:
        if next(written) == 0:
            raise Killed  # the student is saved, and nobody knows yet
        write(self, look)

    monkeypatch.setattr(Trainer, "advance", dies)
    monkeypatch.setattr(looks.Looks, "write", dies_too)
    rough = place / "rough"
    with pytest.raises(Killed):
        train(options(out=rough, **asked))
    assert {"scheme.json", "tokenizer.json", "base.json"} <= {path.name for path in (rough / "student").iterdir()}
    with pytest.raises(UsageError, match=r"not a model folder"):
        Student.load(EvaluateOptions(data="data", model="rough"))
    for _ in range(2):
        with pytest.raises(Killed):
            train(options(out=rough, **asked))
    train(options(out=rough, **asked))
    assert _bytes(rough) == _bytes(Path(str(calm)))


def _scripted(monkeypatch: pytest.MonkeyPatch, *seen: tuple[float, float]) -> list[bytes]:
    """Looks that see this; returns the adapters as they are saved."""
    script, saved = iter(seen), list[bytes]()
    monkeypatch.setattr(looks.Dev, "score", lambda *_: next(script))
    save = saving.Shelf.save

    def heard(self: saving.Shelf, learner: Any) -> None:
        save(self, learner)
        if learner is not None:
            saved.append((self.folder / adapters.WEIGHTS).read_bytes())

    monkeypatch.setattr(saving.Shelf, "save", heard)
    return saved


def test_the_best_look_is_kept(place: Path, monkeypatch: pytest.MonkeyPatch):
    saved = _scripted(monkeypatch, (0.5, 0.0), (0.75, 0.25), (0.75, 0.125), (0.75, 0.125), (0.625, 0.0))
    folder = Path(str(train(options(looks=5, epochs=4))))
    found = pl.read_parquet(folder / "tables/selection.parquet")
    assert found["chosen"].to_list() == [False, False, True, False, False]
    assert found["step"].to_list() == [2, 5, 7, 10, 12]
    assert len(saved) == 3
    assert (folder / "student" / adapters.WEIGHTS).read_bytes() == saved[2]


def test_it_stops_when_looks_are_no_better(place: Path, monkeypatch: pytest.MonkeyPatch):
    saved = _scripted(monkeypatch, (0.5, 0.0), (0.5, 0.0), (0.25, 0.0))
    folder = Path(str(train(options(looks=6, epochs=4, patience=2))))
    assert pl.read_parquet(folder / "tables/selection.parquet")["step"].to_list() == [2, 4, 6]
    assert pl.read_parquet(folder / "tables/curve.parquet")["step"].to_list() == list(range(1, 7))
    assert len(saved) == 1


def test_the_looks_grade_what_the_student_says(place: Path, monkeypatch: pytest.MonkeyPatch):
    """A student that has learnt its dev questions by heart answers them all: the look says so."""
    made.traces(place / "known", [item._replace(split=split) for split in ("train", "dev") for item in _few(split)])
    folder = Path(str(train(options(data="known", mode="full", epochs=60, batch_size=3, look_at=3))))
    found = pl.read_parquet(folder / "tables/selection.parquet").row(0, named=True)
    assert (found["n"], found["accuracy"], found["invalid"]) == (3, 1.0, 0.0)
    assert found["loss"] < 0.2


def _few(split: str) -> list[Item]:
    return [item._replace(id=f"{split}{n}") for n, item in enumerate(made.items()[:3])]


def test_without_a_dev_split_the_last_step_is_kept_and_said(workplace: Path, capfd: pytest.CaptureFixture[str]):
    made.base(workplace / "base")
    made.traces(workplace / "only", made.items("train"))
    folder = Path(str(train(options(data="only"))))
    assert "no split dev" in capfd.readouterr().err
    assert pl.read_parquet(folder / "tables/selection.parquet").is_empty()
    assert (folder / "student" / adapters.WEIGHTS).is_file()
    assert (folder / "figures/training.png").is_file()


def test_the_test_split_is_never_looked_at(place: Path):
    """Its rows could not even be read: unknown kinds, an answer that is none of the choices."""
    bad = [
        item._replace(trace=item.trace._replace(answer="perhaps", steps=(Step("?", "so"),))) for item in made.items()
    ]
    made.traces(place / "odd", [*made.items("train"), *made.items("dev"), *bad])
    assert train(options(data="odd", epochs=0.4))


@pytest.mark.parametrize("arm", ["none", "hard", "general", "uniform", "random", "shuffled", "planned"])
def test_every_arm_trains(place: Path, arm: str):
    folder = Path(str(train(options(arm=arm, plans=2, epochs=0.4))))
    scheme = Student.load(EvaluateOptions(data="data", model=str(folder), device="cpu")).scheme
    tokens = {"none": 0, "hard": 0, "general": 1, "uniform": 5, "planned": 7}.get(arm, 7)
    assert (scheme.arm, len(scheme.tokens), scheme.tags) == (arm, tokens, arm == "hard")
    if arm == "planned":
        assert scheme.kinds == ("plan0", "plan1")


def test_planned_kinds_are_clusters_of_the_base_models_hidden_states():
    words, lm = made.tokenizer(), made.model(len(made.tokenizer()))
    rows = made.items()[:8]
    found = plans.planned(rows, actkit.load(lm, tokenizer=words), options(plans=3, seed=4))
    seen: list[Any] = []
    lm.model.layers[-1].register_forward_hook(lambda _m, _i, out: seen.append(out if torch.is_tensor(out) else out[0]))
    states = []
    for item in rows:
        text = f"Question: {item.trace.question}\n" + "".join(f"{s.text}\n" for s in item.trace.steps)
        with torch.no_grad():
            lm(torch.tensor([words(text)["input_ids"]]))
        lengths = np.cumsum([len(words(f"{each}\n")["input_ids"]) for each in
                             (f"Question: {item.trace.question}", *(s.text for s in item.trace.steps))])  # fmt: skip
        states += [seen[-1][0, a:b].mean(0).numpy() for a, b in pairwise(lengths)]
    wanted = KMeans(3, n_init=10, random_state=4).fit_predict(np.stack(states)).tolist()
    assert list(chain.from_iterable(found)) == wanted
    kinds = plans.relabelled(rows, found)[0].trace.kinds()
    assert kinds == tuple(f"plan{n}" for n in wanted[:3])


def test_traces_that_do_not_fit_are_refused_or_counted(place: Path, capfd: pytest.CaptureFixture[str]):
    long = made.items("train")[0]
    long = long._replace(id="long", trace=long.trace._replace(steps=long.trace.steps * 20))
    none = long._replace(id="bare", trace=long.trace._replace(steps=()))
    made.traces(place / "data2", [*made.items("train"), long, none, *made.items("dev")])
    with pytest.raises(DataError, match=r"long: its \d+ tokens do not fit the model's context of 256.*too-long skip"):
        train(options(data="data2"))
    train(options(data="data2", too_long="skip"))
    assert "left out: 1 without steps, 1 longer than the context" in capfd.readouterr().err


def test_words_that_the_tokenizer_cannot_write_are_told(place: Path, capfd: pytest.CaptureFixture[str]):
    first, *rest = made.items("train")
    odd = first._replace(id="odd", trace=first.trace._replace(question="are Oslo and Rome in one country"))
    made.traces(place / "data2", [odd, *rest, *made.items("dev")], texts=[*TEXTS, "Oslo lies in Norway"])
    folder = Path(train(options(data="data2")) or "")
    told = "2 of 19 traces and texts have words that the tokenizer cannot write (the first: odd): they are learnt with"
    assert f"{told} <unk> in their place" in capfd.readouterr().err
    events = [event for event in journal.intact(folder / "journal.jsonl") if event["event"] == "metrics"]
    assert [event["values"]["unwritable"] for event in events if "unwritable" in event["values"]] == [2]
    words = made.tokenizer()
    words.unk_token = words.eos_token
    codec = Codec(words, arms.scheme("none", general=0, special=0))
    assert unwritable(codec, [("a", codec.line("Paris")), ("b", [codec.eos])]) == [], "its end is no word it has lost"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mode": "tokens", "arm": "none"}, "arm none has no new tokens"),
        ({"mode": "full", "token_rate": 1e-2}, "--token-rate"),
        ({"bits": "4"}, "--bits 4 needs a CUDA device"),
        ({"bits": "8", "mode": "full"}, "rounded weights cannot learn"),
        ({"dtype": "float16"}, "gradients vanish"),
        ({"chat": True}, "no chat template"),
        ({"plans": 99, "arm": "planned"}, "fewer than clusters"),
        ({"model": "bare"}, "no tokenizer"),
        ({"data": "odd"}, r"odd: step 2: unknown kind 'rag'"),
        ({"data": "off"}, r"off: .*perhaps"),
        ({"data": "devonly"}, "split train"),
        ({"mode": "full", "learning_rate": 1e30, "clip": 1e30, "epochs": 4}, "the loss is no number from step"),
    ],
)
def test_what_cannot_be_is_said(place: Path, given: dict[str, Any], said: str):
    item = made.items("train")[0]
    if given.get("model") == "bare":
        made.model(50).save_pretrained(place / "bare")
    wrong = {
        "odd": item._replace(id="odd", trace=item.trace.relabelled(("memory", "rag", "reason"))),
        "off": item._replace(id="off", trace=item.trace._replace(answer="perhaps")),
        "devonly": item._replace(split="dev"),
    }
    if given.get("data") in wrong:
        made.traces(place / given["data"], [wrong[given["data"]]])
    with pytest.raises((UsageError, DataError), match=said):
        train(options(**given))


def test_a_folder_is_not_resumed_with_another_scheme(place: Path):
    train(options(out=place / "run", epochs=0.4))
    with pytest.raises(UsageError, match=r"belongs to another run \(--arm typed there, random here\)"):
        train(options(out=place / "run", epochs=0.4, arm="random"))
