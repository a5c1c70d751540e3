"""A run in MLflow: one writer, a spool on disk first, and MLflow's own pages on the run's own store."""
