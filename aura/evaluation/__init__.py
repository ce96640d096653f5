"""Evaluation of a run on shards: a task gives figures with intervals, and a page to look at. `recipes/evaluate.py` is its
command line."""
