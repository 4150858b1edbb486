"""Put an experiment on record: MLflow mirror, atomic files, resume, checked tables."""
