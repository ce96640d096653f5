"""The card of a released model."""

from aura.model_card.card import model_card as model_card
