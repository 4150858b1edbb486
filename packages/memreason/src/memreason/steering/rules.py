"""What is asked of one answer beyond the grammar: kinds that are forced, forbidden or capped, facts that are given."""

from dataclasses import dataclass, field

from runkit.errors import UsageError, nearest

from memreason.scheme import TokenScheme
from memreason.trace import MEMORY


@dataclass(frozen=True)
class Rules:
    """What one answer has to keep to; by default the grammar alone.

    Attributes:
        force: kinds of the first steps, in order. forbid: kinds of no step.
        caps: kind -> most steps of it. Where no kind is left, the answer follows.
        supplied: texts of the next memory steps (of the next steps, in arms without that kind); no answer before they
            are all written.
    """

    force: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()
    caps: dict[str, int] = field(default_factory=dict[str, int])
    supplied: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that are spoken of."""
        return (*self.force, *self.forbid, *self.caps)

    def check(self, scheme: TokenScheme) -> "Rules":
        """These rules, where a student of this scheme can keep to them.

        Raises:
            UsageError: its arm does not tell such a kind, or what is forced is forbidden or beyond its cap.
        """
        known = told(scheme)
        if unknown := [kind for kind in self.kinds if kind not in known]:
            raise UsageError(
                f"arm {scheme.arm} cannot be steered by the kind {unknown[0]}: "
                + (nearest(unknown[0], known) if known else "it writes no kinds; use a student of arm typed or hard")
            )
        for kind in dict.fromkeys(self.force):
            most = 0 if kind in self.forbid else self.caps.get(kind, len(self.force))
            if self.force.count(kind) > most:
                raise UsageError(f"{self.force.count(kind)} steps of kind {kind} are forced, and {most} allowed")
        self._check_supplied(known)
        return self

    def _check_supplied(self, known: tuple[str, ...]) -> None:
        most = 0 if MEMORY in self.forbid else self.caps.get(MEMORY, len(self.supplied))
        if MEMORY in known and len(self.supplied) > most:
            raise UsageError(f"{len(self.supplied)} facts are supplied as memory steps, and {most} are allowed")
        if bad := [text for text in self.supplied if "\n" in text or not text or text != text.strip()]:
            raise UsageError(f"a supplied fact is not one line of text without space around it: {bad[0][:60]!r}")


def told(scheme: TokenScheme) -> tuple[str, ...]:
    """The kinds that a student of this scheme writes before its steps: () where it writes none."""
    return scheme.kinds if scheme.special or scheme.tags else ()
