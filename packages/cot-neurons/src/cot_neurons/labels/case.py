"""All that is known of the neurons before anyone judges them."""

from dataclasses import dataclass

import polars as pl
from runkit.tables import NEURON_KEY

from cot_neurons import sources
from cot_neurons.labels import concepts, controls
from cot_neurons.labels.concepts import Concept
from cot_neurons.labels.matching import Lists
from cot_neurons.labels.scoring import Scoring, lists
from cot_neurons.labels.vocabulary import Vocabulary, token_ids
from cot_neurons.options import LabelOptions
from cot_neurons.subject import Subject


@dataclass(frozen=True)
class Case:
    """Neurons, their token lists, the concepts, and how well the one matches the other.

    Attributes:
        keys: of all neurons, in the order of `of`.
        tokens: the token ids of every concept that has any.
        scores: the table `scores`, decoys included.
    """

    options: LabelOptions
    subject: Subject
    keys: pl.DataFrame
    concepts: list[Concept]
    coverage: pl.DataFrame
    tokens: dict[str, list[int]]
    of: Lists
    vocabulary: Vocabulary
    scoring: Scoring
    scores: pl.DataFrame

    @classmethod
    def open(cls, options: LabelOptions) -> "Case":
        """Read what the options name and score every neuron.

        Raises:
            UsageError: neurons of another model, or concepts without one word in the vocabulary.
            DataError: a damaged table, or a registry that is none.
        """
        known = concepts.read(options.concepts)
        subject = Subject.load(options)
        neurons = sources.neurons(options.neurons, subject).sort(NEURON_KEY)
        of = lists(neurons, subject.model, options.neurons)
        vocabulary = Vocabulary(subject.model)
        coverage = vocabulary.coverage(known)
        tokens = token_ids(coverage)
        decoys = controls.decoys(of, tokens, vocabulary.size, options.seed)
        keys = neurons.select(NEURON_KEY)
        scoring = Scoring(of, tokens, vocabulary, options.seed)
        scores = pl.concat([scoring.table(keys, of, tokens), scoring.table(keys, of, decoys, decoy=True)])
        whole = pl.concat([coverage, vocabulary.coverage_of_decoys(decoys)])
        return cls(options, subject, keys, known, whole, tokens, of, vocabulary, scoring, scores)

    @property
    def uncovered(self) -> list[str]:
        """Concepts of which the vocabulary has no word."""
        return [concept.name for concept in self.concepts if concept.name not in self.tokens]

    @property
    def candidates(self) -> pl.DataFrame:
        """Keys of the neurons to be judged: those whose list matches some concept well enough."""
        return self.matching(decoy=False)

    def matching(self, *, decoy: bool) -> pl.DataFrame:
        """Keys of the neurons that reach the least score with some concept, or with some decoy."""
        enough = (pl.col("decoy") == decoy) & (pl.col("score") >= self.options.min_score)
        return self.scores.filter(enough).select(NEURON_KEY).unique().sort(NEURON_KEY)

    def promoted(self, keys: pl.DataFrame, of: Lists | None = None) -> list[list[int]]:
        """The token ids that each of these neurons promotes, the strongest first; `of`: by other lists than its own."""
        of = of or self.of
        at = keys.join(self.keys.with_row_index("at"), on=NEURON_KEY, how="left", maintain_order="left")["at"]
        return [of.ids[i][of.strengths[i] > 0].tolist() for i in at]
