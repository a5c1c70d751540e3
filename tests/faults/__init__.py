"""Every fault: first the proof that it happened, then that nothing was lost.

Faults that belong to one module's own behaviour are tested beside it: single errors and retries of the pool, a killed
worker, trial and pool in `tests/tune/test_ray.py`; leases in `tests/store`; MLflow's outages in `tests/tracking`;
signals and a second driver in `tests/cli/test_run.py`. What takes minutes runs where PBT_DISENT_FAULTS is set, as in
`make faults`.
"""
