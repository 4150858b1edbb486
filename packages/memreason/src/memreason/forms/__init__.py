"""The forms in which questions come: published annotations, our own traces, and the data sets as they are."""

from memreason.forms.draft import Draft, Row, Told, Ways
from memreason.forms.recognise import Source, recognised

__all__ = ["Draft", "Row", "Source", "Told", "Ways", "recognised"]
