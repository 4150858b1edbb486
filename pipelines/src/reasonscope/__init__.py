"""Multi-stage MLflow pipelines and the reasonscope command."""
