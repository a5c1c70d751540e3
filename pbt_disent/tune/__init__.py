"""The executor on Ray Tune: slots, board, pool, scheduler, launch. The only package that imports ray."""
