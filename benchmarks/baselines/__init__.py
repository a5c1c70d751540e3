"""The other ways to do the same work, each written from its published description."""
