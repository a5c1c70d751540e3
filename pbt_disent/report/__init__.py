"""The figures of a run, and the page that tells what it found."""
