"""The checker against a world written by hand: every kind of sentence, question, verdict and blame."""

from pathlib import Path

import pytest
from memreason.trace import Step
from memreason.world import Blame, Override, Verdict, World, language, questions
from memreason.world.content import SORTS, Content, Fact
from memreason.world.language import CONCLUSIONS, FACTS, VERDICTS, Conclusion
from memreason.world.questions import Kind, Question
from runkit.errors import DataError

HERE = Content(
    people=("Ana", "Bo", "Cy"),
    removed=("Di",),
    years=("1900", "1901", "1902", "1903"),
    cities=("Xton", "Yton", "Zton"),
    regions=("North", "South"),
    born={"Ana": "1900", "Bo": "1902", "Cy": "1902", "Di": "1901"},
    lives={"Ana": "Xton", "Bo": "Yton", "Cy": "Xton", "Di": "Zton"},
    lies={"Xton": "North", "Yton": "North", "Zton": "South"},
    mentor={"Ana": "Bo", "Bo": "Cy", "Cy": "Ana", "Di": "Ana"},
)
WORLD = World(HERE)
OLDER = "was Ana born before Bo ?"
FACTS_OF = {
    OLDER: ["Ana was born in 1900", "Bo was born in 1902"],
    "do Ana and Cy live in the same city ?": ["Ana lives in Xton", "Cy lives in Xton"],
    "does Di live in the region North ?": ["Di lives in Zton", "Zton lies in South"],
    "do Ana and Bo live in the same region ?": [
        "Ana lives in Xton", "Xton lies in North", "Bo lives in Yton", "Yton lies in North",
    ],
    "do Ana and Cy live in the same region ?": ["Ana lives in Xton", "Xton lies in North", "Cy lives in Xton"],
    "was the mentor of Ana born before Cy ?": ["the mentor of Ana is Bo", "Bo was born in 1902", "Cy was born in 1902"],
    "does the mentor of the mentor of Di live in the region North ?": [
        "the mentor of Di is Ana", "the mentor of Ana is Bo", "Bo lives in Yton", "Yton lies in North",
    ],
    "given that Bo was born in 1902 . was Ana born before Bo ?": ["Ana was born in 1900"],
    "given that Cy lives in Xton . was Ana born before Bo ?": ["Ana was born in 1900", "Bo was born in 1902"],
    "given that Bo was born in 1902 . given that Ana was born in 1900 . was Ana born before Bo ?": [],
}  # fmt: skip
ANSWERS = ["yes", "yes", "no", "yes", "yes", "no", "yes", "yes", "yes", "yes"]


def steps(*texts: str) -> list[Step]:
    return [Step("", text) for text in texts]


def memory(true: bool, needed: bool = True) -> Verdict:
    return Verdict("memory", true, needed)


def reason(true: bool, needed: bool = True) -> Verdict:
    return Verdict("reason", true, needed)


@pytest.mark.parametrize(("question", "answer"), list(zip(FACTS_OF, ANSWERS, strict=True)))
def test_what_a_question_needs_and_its_answer(question: str, answer: str):
    assert WORLD.facts(question) == WORLD.missing(question, []) == FACTS_OF[question]
    assert WORLD.answer(question) == answer
    assert questions.read(question, HERE).text() == question


def test_every_way_of_saying_something_is_read_back():
    names = {"person": "Ana", "year": "1901", "city": "Zton", "region": "South"}
    for relation, ways in FACTS.items():
        subject, value = (names[sort] for sort in SORTS[relation])
        for way in range(len(ways)):
            fact = Fact(relation, subject, "Cy" if relation == "mentor" else value)
            assert language.read(language.sentence(fact, way), HERE) == fact
    pairs = {"year": ("1901", "1900"), "city": ("Xton", "Zton"), "region": ("South", "South")}
    for sort, verdicts in VERDICTS.items():
        for verdict in verdicts:
            for way in range(len(CONCLUSIONS)):
                drawn = Conclusion(sort, *pairs[sort], verdict)
                assert language.read(language.sentence(drawn, way), HERE) == drawn


@pytest.mark.parametrize(
    "text",
    [
        "", "Ana", "Ana was born in Xton", "Xton was born in 1900", "Eve was born in 1900", "Ana was born in 1950",
        "so Ana was born in 1900", "Ana was born in 1900 .", "Ana  was born in 1900", "note that Ana lives in 1900",
        "so 1900 compared to 1901 is", "so 1900 compared to 1901 is earlier so", "so Eve compared to Bo is earlier",
    ],
)  # fmt: skip
def test_what_is_no_sentence_is_not_read(text: str):
    assert language.read(text, HERE) is None
    assert WORLD.check(OLDER, steps(text)) == [Verdict("other", None, False)]


@pytest.mark.parametrize(
    "text",
    [
        "so 1900 compared to Xton is another city", "so 1900 compared to 1901 is the same city",
        "so Xton compared to Yton is earlier", "so Ana compared to Bo is earlier",
    ],
)  # fmt: skip
def test_a_conclusion_about_the_wrong_sort_of_things_is_one_that_never_follows(text: str):
    assert WORLD.check(OLDER, steps("Ana was born in 1900", text))[1] == Verdict("reason", False, False)


@pytest.mark.parametrize(
    "question",
    [
        "", "was Ana born before Eve ?", "was Ana born before Bo", "was Ana born before North ?",
        "does Ana live in the region Bo ?", "given that Ana is old . was Ana born before Bo ?",
        "given that Ana lives in Rome . was Ana born before Bo ?", "was the mentor Ana born before Bo ?",
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_an_error(question: str):
    for ask in (WORLD.facts, WORLD.answer, WORLD.override):
        with pytest.raises(DataError, match="question '"):
            ask(question)


def test_a_chain_of_true_steps_is_true():
    said = steps("note that Ana was born in 1900", "we know the birth year of Bo is 1902",
                 "we know 1900 held against 1902 is earlier")  # fmt: skip
    assert WORLD.check(OLDER, said) == [memory(True), memory(True), reason(True)]
    assert WORLD.missing(OLDER, said) == []
    turned = steps(*(step.text for step in said[:2]), "so 1902 compared to 1900 is later")
    assert WORLD.check(OLDER, turned) == [memory(True), memory(True), reason(True)]


def test_a_conclusion_follows_from_what_was_said_be_it_false():
    said = steps("Ana was born in 1903", "Bo was born in 1902", "so 1903 compared to 1902 is later")
    assert WORLD.check(OLDER, said) == [memory(False), memory(True), reason(True)]
    wrong = steps("Ana was born in 1903", "Bo was born in 1902", "so 1903 compared to 1902 is earlier")
    assert WORLD.check(OLDER, wrong)[2] == reason(False)
    truth = steps("Ana was born in 1903", "Bo was born in 1902", "so 1900 compared to 1902 is earlier")
    assert WORLD.check(OLDER, truth)[2] == reason(False, needed=False)  # true of the world, but nobody said 1900
    assert WORLD.missing(OLDER, said) == ["Ana was born in 1900"]


def test_a_conclusion_before_its_facts_does_not_follow():
    said = steps("so 1900 compared to 1902 is earlier", "Ana was born in 1900", "Bo was born in 1902")
    assert WORLD.check(OLDER, said) == [reason(False, needed=False), memory(True), memory(True)]
    given = "given that Bo was born in 1902 . given that Ana was born in 1900 . was Ana born before Bo ?"
    assert WORLD.check(given, said[:1]) == [reason(True)]


def test_facts_beside_the_question_are_not_needed():
    said = steps(
        "Cy was born in 1902", "Bo lives in Yton", "Ana was born in 1900", "so 1900 compared to 1902 is earlier"
    )
    assert WORLD.check(OLDER, said) == [
        memory(True, needed=False), memory(True, needed=False), memory(True), reason(True, needed=False)
    ]  # fmt: skip
    given = "given that Bo was born in 1902 . was Ana born before Bo ?"
    assert WORLD.check(given, steps("Bo was born in 1902")) == [memory(True, needed=False)]
    assert WORLD.check(given, steps("Di was born in 1903")) == [memory(False, needed=False)]


def test_a_region_of_the_question_needs_no_fact():
    question = "does Ana live in the region South ?"
    said = steps("Ana lives in Xton", "Xton lies in North", "so North compared to South is another region")
    assert WORLD.check(question, said) == [memory(True), memory(True), reason(True)]
    assert WORLD.check(question, said[2:]) == [reason(False, needed=False)]


def test_a_mentor_said_wrongly_is_followed():
    question = "was the mentor of Ana born before Cy ?"
    said = steps("the mentor of Ana is Di", "Di was born in 1901", "Cy was born in 1902",
                 "so 1901 compared to 1902 is earlier")  # fmt: skip
    assert WORLD.check(question, said) == [memory(False), memory(True, needed=False), memory(True), reason(True)]
    assert WORLD.blame(question, said, "yes") == Blame("memory", 1)


FIRST, SECOND, DRAWN = "Ana was born in 1900", "Bo was born in 1902", "so 1900 compared to 1902 is earlier"


@pytest.mark.parametrize(
    ("texts", "answer", "blame"),
    [
        ([FIRST, SECOND, DRAWN], "yes", Blame("none", None)),
        ([], "yes", Blame("none", None)),
        ([FIRST, SECOND, DRAWN], "no", Blame("reason", None)),
        ([FIRST, "Bo was born in 1900", "so 1900 compared to 1900 is equal"], "no", Blame("memory", 2)),
        ([FIRST, DRAWN], "no", Blame("memory", 2)),
        ([DRAWN], "no", Blame("memory", 1)),
        ([DRAWN, FIRST, SECOND], "no", Blame("reason", 1)),
        ([FIRST, SECOND, "so 1900 compared to 1902 is later"], "no", Blame("reason", 3)),
        ([FIRST, SECOND, "so 1900 compared to 1901 is earlier"], "no", Blame("reason", 3)),
        ([FIRST, SECOND, "Cy was born in 1902", "so 1902 compared to 1902 is equal"], "no", Blame("reason", 4)),
        ([FIRST, SECOND], "no", Blame("reason", None)),
        ([FIRST], "no", Blame("memory", None)),
        ([FIRST, "Di was born in 1903", SECOND, DRAWN], "no", Blame("reason", None)),
        ([FIRST, "hm", SECOND, DRAWN], "no", Blame("format", 2)),
        (["Ana was born in 1901", "hm"], "no", Blame("memory", 1)),
        ([FIRST, SECOND, DRAWN], None, Blame("format", None)),
        ([FIRST], None, Blame("format", None)),
        ([FIRST, "Bo was born in 1901"], None, Blame("memory", 2)),
        ([FIRST, SECOND, DRAWN], "maybe", Blame("format", None)),
    ],
)
def test_the_first_thing_that_went_wrong_is_blamed(texts: list[str], answer: str | None, blame: Blame):
    assert WORLD.blame(OLDER, steps(*texts), answer) == blame


def test_an_override_is_a_false_fact_that_turns_the_answer():
    assert WORLD.override("given that Bo was born in 1902 . was Ana born before Bo ?") in {
        Override(f"Ana was born in {year}", "no") for year in (1902, 1903)
    }
    assert WORLD.override("do Ana and Bo live in the same region ?") == Override("Ana lives in Zton", "no")
    assert WORLD.override("was the mentor of Ana born before Cy ?") in {
        Override(f"Bo was born in {year}", "yes") for year in (1900, 1901)
    }
    assert WORLD.override(
        "given that Bo was born in 1902 . given that Ana was born in 1900 . was Ana born before Bo ?"
    ) is None  # fmt: skip


def test_a_world_is_kept_as_a_file(tmp_path: Path):
    HERE.save(tmp_path / "world.json")
    assert World.load(tmp_path / "world.json").content == HERE


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{", "", "world: Invalid JSON"),
        ('"Ana": "1900"', '"Ana": "1950"', "born: no year is called '1950'"),
        ('"Bo": "Yton"', '"Bo": "Rton"', "lives: no city is called 'Rton'; did you mean"),
        ('"Yton": "North",', "", "lies: nothing is told of Yton"),
        ('"Zton"\n', '"Xton"\n', "Xton is the name of two things"),
        ('"regions"', '"areas"', "regions: Field required"),
    ],
)
def test_a_damaged_world_is_named(tmp_path: Path, old: str, new: str, message: str):
    path = tmp_path / "world.json"
    HERE.save(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        World.load(path)


def test_a_world_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"world.json: no world can be read"):
        World.load(tmp_path / "world.json")


def test_kinds_by_depth():
    of = {hops: [kind.name for kind in questions.kinds(hops)] for hops in (1, 2, 3, 4)}
    assert of[1] == ["older", "same_city"]
    assert of[2] == ["older", "same_city", "in_region", "same_region"]
    assert of[3] == [*of[2], *(f"mentor.{each}" for each in of[2])]
    assert of[4] == [*of[3], *(f"mentor.mentor.{each}" for each in of[2])]
    asked = Question(Kind("same_region", 1), "Di", "Bo")
    assert [fact.relation for fact in questions.solve(asked, HERE.truth).facts] == [
        "mentor", "lives", "lies", "lives", "lies"
    ]  # fmt: skip
