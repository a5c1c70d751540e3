"""The executor on Ray Tune, launched by `pbt_disent.tune.launch.launch`. The only package that imports ray."""
