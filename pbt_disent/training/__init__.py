"""Training one member for one generation: tasks in, outcomes out."""
