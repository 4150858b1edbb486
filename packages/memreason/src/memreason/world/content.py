"""What is true in a world: who was born when and lives where, what lies in which region, who taught whom."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from runkit import files
from runkit.errors import DataError, nearest

Sort = Literal["person", "year", "city", "region"]
NAMED: tuple[Sort, ...] = ("person", "year", "city", "region")
Relation = Literal["born", "lives", "lies", "mentor"]
Slot = tuple[Relation, str]
"""What a fact is about: its relation and its subject."""
SORTS: dict[Relation, tuple[Sort, Sort]] = {
    "born": ("person", "year"),
    "lives": ("person", "city"),
    "lies": ("city", "region"),
    "mentor": ("person", "person"),
}
"""Of each relation, what its subjects and its values are."""


class Fact(NamedTuple):
    """The `relation` of `subject` is `value`; it need not be true."""

    relation: Relation
    subject: str
    value: str

    @property
    def slot(self) -> Slot:
        return self.relation, self.subject


class Content(BaseModel):
    """The names and facts of a world. `people` are those that texts and questions tell of; of `removed` nothing is
    told, though it is true. `mentor` is empty where nobody has one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    people: tuple[str, ...]
    removed: tuple[str, ...]
    years: tuple[str, ...]
    cities: tuple[str, ...]
    regions: tuple[str, ...]
    born: dict[str, str]
    lives: dict[str, str]
    lies: dict[str, str]
    mentor: dict[str, str]

    @model_validator(mode="after")
    def _names_are_known(self) -> "Content":
        words = [word for sort in NAMED for word in self.words(sort)]
        if twice := [word for word in words if words.count(word) > 1]:
            raise ValueError(f"{twice[0]} is the name of two things")
        for fact in self.facts():
            for word, sort in zip(fact[1:], SORTS[fact.relation], strict=True):
                if word not in self.words(sort):
                    raise ValueError(
                        f"{fact.relation}: no {sort} is called {word!r}; {nearest(word, self.words(sort))}"
                    )
        for relation, (sort, _) in SORTS.items():
            lacking = set(self.words(sort)) - set(self.of(relation))
            if lacking and (relation != "mentor" or self.mentor):
                raise ValueError(f"{relation}: nothing is told of {min(lacking)}")
        return self

    @cached_property
    def truth(self) -> dict[Slot, str]:
        """All facts by what they are about, those of removed people too."""
        return {fact.slot: fact.value for fact in self.facts()}

    def of(self, relation: Relation) -> dict[str, str]:
        """The facts of one relation, by subject."""
        return {"born": self.born, "lives": self.lives, "lies": self.lies, "mentor": self.mentor}[relation]

    def facts(self) -> Iterator[Fact]:
        """All facts."""
        return (Fact(relation, *each) for relation in SORTS for each in self.of(relation).items())

    def told(self) -> list[Fact]:
        """The facts that are not of removed people."""
        hidden = set(self.removed)
        return [fact for fact in self.facts() if fact.subject not in hidden]

    def words(self, sort: Sort) -> tuple[str, ...]:
        """All names of a sort."""
        people = self.people + self.removed
        return {"person": people, "year": self.years, "city": self.cities, "region": self.regions}[sort]

    def sort(self, word: str) -> Sort | None:
        """What a word names."""
        return self._sorts.get(word)

    @cached_property
    def _sorts(self) -> dict[str, Sort]:
        return {word: sort for sort in NAMED for word in self.words(sort)}

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        files.write_bytes(path, self.model_dump_json(indent=1).encode() + b"\n")

    @classmethod
    def load(cls, path: Path) -> "Content":
        """Raises DataError: the file cannot be read, or is no world; names the field."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise DataError(f"{path}: no world can be read: {error}") from None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "world"
            raise DataError(f"{path}: {place}: {first['msg']}; make it again with memreason toy") from None
