"""The rounds of a method: populations on subsets, the labels that they give, and the final model."""
