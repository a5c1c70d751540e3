"""Population-based training: the pure PBT rule, what it ranks by, its engine, and its record on disk."""
