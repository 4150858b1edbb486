"""Interventions on neurons while a model reasons: what is done, against which controls, and what comes of it."""
