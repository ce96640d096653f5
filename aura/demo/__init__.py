"""A page on which people try a model: it names what a recording shows, finds recordings by words, and aligns two."""
