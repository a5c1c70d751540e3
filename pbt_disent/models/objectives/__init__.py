"""The objectives, one file each; adding a file adds an objective."""
