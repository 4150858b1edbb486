"""Scoring by intervention: does a neuron that is made to fire make the words of its description likelier to be written?

The neuron's activation is set to its peak of the train split (in the polarity that is scored) at the last token of a
prompt. Prompts are random sequences of the split, each cut after its last token at which the neuron does not fire of
its own accord. The effect on a token of the vocabulary is the change of its log-probability as the next token.

The score compares two sets of tokens: those that say a word of the description, and those that say a word of other
neurons' descriptions (the controls; of a null description also the words of the one it stands beside). With the effects
averaged over prompts, it is the distance between the mean over the description's tokens and the mean over both sets, in
standard deviations of what as many tokens drawn at random from both sets would have. So 0 is chance and the sign says
which way; it is at most sqrt(N - 1) for N tokens in all. A description in the fixed form is taken at what it says of
promoted tokens, if it says anything of them.

Neurons of the MLP alone: of other sources it is not known that writing them at one token is what the model would do.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import ClassVar

import actkit
import numpy as np
import torch
from actkit.harvest.identity import identity
from jaxtyping import Float
from runkit.errors import UsageError

from expgen.explaining import phrases
from expgen.scoring import Evidence, Score, Scorer, Trial, statistics
from expgen.scoring.cases import Cases, Others
from expgen.scoring.material import Material, fires
from expgen.scoring.origins import Origin
from expgen.store import Excerpt, Exemplars, Feature
from expgen.subject import Subject

_SOURCE = "mlp_post"
_OTHERS = 100  # descriptions whose words are controls, of either polarity
_PROMPTS = 16  # per forward pass, each read twice
_ROUNDING = 1e-4  # nats; what float32 leaves of equal effects is less
_NO_WORD = "no word of the description is a single token of the model"


class Intervention(Scorer):
    """The standardised effect; see the module."""

    name = "intervention"
    nulls: ClassVar[tuple[str, ...]] = ("other", "empty")

    def __init__(self, model: actkit.Model, exemplars: Exemplars, others: Others, seed: int, draws: int) -> None:
        super().__init__(seed, draws)
        self._model, self._exemplars, self._others = model, exemplars, others
        self._room = actkit.Room()
        self._effects = lru_cache(maxsize=2)(self._measured_effects)
        self._controls = lru_cache(maxsize=2)(self._control_ids)

    @classmethod
    def open(cls, cases: Cases) -> "Intervention":
        """With the model that --model names.

        Raises:
            UsageError: features of another source than the MLP; another model than the exemplars are of.
        """
        options, exemplars = cases.options, cases.exemplars
        if _SOURCE not in (known := set(cases.rows["source"])):
            raise UsageError(f"--scorers intervention: features of {min(known)} cannot be written, only {_SOURCE}")
        subject = Subject.load(options, options.dtype)
        about = {"model": subject.name, "revision": options.revision, "identity": identity(subject.model)}
        if not Origin.of(about).is_same(Origin.of(exemplars.about)):
            raise UsageError(
                f"--model {options.model} is {Origin.of(about)}, but --exemplars {options.exemplars} are of "
                f"{Origin.of(exemplars.about)}"
            )
        return cls(subject.model, exemplars, cases.others, options.seed, options.draws)

    def evidence(self, work: Sequence[tuple[Trial, Material]]) -> list[Evidence]:
        """Samples are [2, tokens], one per prompt: the effect on each token, and 1 where the description means it."""
        chosen = {trial.feature: self._ids(_words(trial.description)) for trial, _ in work if trial.kind == "candidate"}
        return [
            self._evidence(trial, given, set() if trial.kind == "candidate" else chosen.get(trial.feature, set()))
            for trial, given in work
        ]

    def measured(self, samples: list[np.ndarray], random: np.random.Generator) -> Score:
        """The standardised difference; its interval draws prompts."""
        effects, meant = np.stack([each[0] for each in samples]), samples[0][1] > 0
        if np.ptp(effects.mean(axis=0)) < _ROUNDING:
            return Score.none("constant", "the write moves all these words alike", len(samples))
        difference = statistics.standardised(effects, meant)
        return Score(*statistics.told(difference, len(samples), self.draws, random), len(samples), "ok", None)

    def _evidence(self, trial: Trial, given: Material, own: set[int]) -> Evidence:
        """`own`: what the chosen description means, a control of null descriptions."""
        if trial.feature.source != _SOURCE:
            return Evidence(faults=[f"features of {trial.feature.source} cannot be written, only {_SOURCE}"])
        meant = self._ids(_words(trial.description))
        controls = sorted((self._controls(trial.feature) | own) - meant)
        if not meant:
            return Evidence(faults=[_NO_WORD])
        if len(controls) < 2:
            return Evidence(faults=["other descriptions have no words to compare with"])
        prompts = tuple(prompt for each in given.excerpts if each.rank < 0 and (prompt := _prompt(each, given.peak)))
        if not prompts:
            return Evidence(faults=["there is no random sequence with a token at which it does not fire"])
        ids = [*sorted(meant), *controls]
        mask = np.arange(len(ids)) < len(meant)
        return Evidence([np.stack([row[ids], mask]) for row in self._effects(trial.feature, prompts)])

    def _measured_effects(
        self, feature: Feature, prompts: tuple[tuple[int, ...], ...]
    ) -> Float[np.ndarray, "prompts V"]:
        """Change of every token's log-probability after each prompt."""
        key = {name: value for name, value in feature._asdict().items() if name != "model"}
        peak = self._exemplars.features.filter(**key)["peak"][0]
        site, found = f"{_SOURCE}.{feature.layer}", list[np.ndarray]()
        for start in range(0, len(prompts), _PROMPTS):
            found += self._room(prompts[start : start + _PROMPTS], partial(self._changes, site, peak, feature.neuron))
        return np.concatenate(found).astype(float)

    def _changes(
        self, site: str, peak: float, neuron: int, prompts: Sequence[tuple[int, ...]]
    ) -> Float[np.ndarray, "prompts V"]:
        some = [list(prompt) for prompt in prompts]
        where = actkit.Where(rows=range(len(some)), pos=-1, units=neuron)
        run = self._model.run(self._model.encode(some + some), edits=[actkit.set_(site, peak, where)])
        assert run.logits is not None
        said = torch.log_softmax(run.logits.float(), dim=-1)
        return (said[: len(some)] - said[len(some) :]).cpu().numpy()

    def _control_ids(self, feature: Feature) -> set[int]:
        """Tokens that say a word of other neurons' descriptions."""
        told = self._others.sample(feature, _OTHERS)
        return self._ids({word for each in told for word in _words(each)})

    def _ids(self, words: Iterable[str]) -> set[int]:
        """Ids of the tokens that are one of these words."""
        tokenizer = self._model.tokenizer
        spelled = sorted({form for word in words for form in (word, word.strip(), f" {word.strip()}") if form})
        if not spelled or tokenizer is None:
            return set()
        rows = tokenizer(spelled, add_special_tokens=False)["input_ids"]
        return {row[0] for row in rows if len(row) == 1} - set(tokenizer.all_special_ids)


def _words(description: str) -> set[str]:
    """What a description says that is written: promoted tokens if it tells any, else all its words."""
    phrase = phrases.parse(description)
    if phrase is not None:
        return set(phrase.promotes or (*phrase.on, *phrase.of, *phrase.weakly))
    words = phrases.words_in(description)
    return words | {word.capitalize() for word in words}


def _prompt(each: Excerpt, peak: float) -> tuple[int, ...]:
    """The tokens up to the last one that counts and at which the feature does not fire; empty where there is none."""
    neutral = np.flatnonzero(each.text.valid & ~fires(each, peak))
    return tuple(each.text.ids[: neutral[-1] + 1].tolist()) if len(neutral) else ()
