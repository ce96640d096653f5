"""A trained model in use: recordings in, embeddings and answers out; and the folder that it is kept and given away in."""
