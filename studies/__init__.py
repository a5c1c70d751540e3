"""Experiments with their controls, each cut into cells (an arm and a seed) whose results are kept one by one.

A file adds a study by registering it (see `studies.study`); what it compares is described in the YAML file beside it.
Run it from a clone: ``python -m studies objectives``.
"""
