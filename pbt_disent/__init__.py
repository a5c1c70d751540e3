"""pbt-disent: dependable disentangled representations by population-based training, with and without labels."""

__version__ = "0.1.0"
