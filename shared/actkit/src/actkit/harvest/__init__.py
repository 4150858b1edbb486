"""Stream a data set through a model and keep, of every site, only what a reducer makes of it."""

from actkit.harvest.features import Feature
from actkit.harvest.files import StoreError
from actkit.harvest.harvest import REDUCERS, harvest, plan_harvest
from actkit.harvest.listings import Keep, Sparse
from actkit.harvest.plan import Plan
from actkit.harvest.reducing import HarvestError, Reducer
from actkit.harvest.store import Store
from actkit.harvest.summaries import Histogram, Mean, Moments
from actkit.harvest.topk import TopK
from actkit.harvest.toprows import TopRows, window_start

__all__ = [
    "REDUCERS",
    "Feature",
    "HarvestError",
    "Histogram",
    "Keep",
    "Mean",
    "Moments",
    "Plan",
    "Reducer",
    "Sparse",
    "Store",
    "StoreError",
    "TopK",
    "TopRows",
    "harvest",
    "plan_harvest",
    "window_start",
]
