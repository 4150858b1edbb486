"""Is a test what it says? Training rows are held against the rows of the test while they are written."""

from typing import Any

from runkit.errors import DataError

from grokked_reasoning.worlds.made import Made, Row


class Audit:
    """Watches the training rows of a world go by."""

    def __init__(self, made: Made) -> None:
        self._made = made
        self._unseen = {row.prompt: row for row in made.test if row.kind not in made.trained}
        self._due = {row.prompt for row in made.test if row.kind in made.trained}
        self._links = {self._link(row) for row in self._unseen.values()} if made.head else set[str]()
        self._linked: set[str] = set()

    def see(self, row: Row) -> None:
        """A training row. Raises DataError where it is a row of the test that training must not have."""
        if row.prompt in self._unseen:
            raise DataError(f"{row.prompt}: {self._unseen[row.prompt].kind} in test.json, {row.kind} in train.json")
        self._due.discard(row.prompt)
        if self._links and (link := self._link(row)) in self._links:
            self._linked.add(link)

    def result(self) -> dict[str, Any]:
        """What was found, when all rows have gone by.

        Raises:
            DataError: a training row of the test is not in training, or a fact is both ID and OOD.
        """
        if self._due:
            raise DataError(f"{min(self._due)} stands in test.json as a training row, and not in train.json")
        facts = self._made.facts
        if twice := facts.filter(facts.select("head", "relation").is_duplicated()).rows():
            raise DataError(f"facts: {twice[0][0]} has {twice[0][1]} twice")
        found: dict[str, Any] = {"test_rows_in_training": 0, "facts_both_id_and_ood": 0}
        return found | ({"head_and_answer_linked_in_training": self._by_type()} if self._made.head else {})

    def _by_type(self) -> dict[str, int]:
        """Test rows by type whose head and answer a training row links as well, by whatever relation."""
        kinds = dict.fromkeys((row.kind for row in self._unseen.values()), 0)
        for row in self._unseen.values():
            kinds[row.kind] += self._link(row) in self._linked
        return kinds

    def _link(self, row: Row) -> str:
        assert self._made.head is not None
        return f"{self._made.head(row.prompt)} {row.answer}"
