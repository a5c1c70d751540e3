"""The experiments with their controls: each is cut into cells (arm and seed) whose results are kept one by one."""
