"""What MLflow knows of a run: one writer, a spool on disk first, and MLflow's pages on the run's own store."""
