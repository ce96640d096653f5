"""Models that others published, as towers: a file for each says how a sample becomes its input and its weights ours."""
