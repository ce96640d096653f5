"""Towers: the encoder of each kind of stream."""

from aura.towers.build import TowerConfig, build_tower
from aura.towers.output import TowerOutput
from aura.towers.text import make_tokenizer, tokenizer
from aura.towers.tower import Tower

__all__ = ["Tower", "TowerConfig", "TowerOutput", "build_tower", "make_tokenizer", "tokenizer"]
