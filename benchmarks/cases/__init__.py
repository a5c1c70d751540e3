"""The cases, one file each or one per family."""
