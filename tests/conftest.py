import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test never reaches for a network
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
