"""Towers for text, and their tokenizers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import open_clip
import torch
import transformers
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from aura.data.batch import Stream
from aura.data.config import TextInput
from aura.towers.clip import load_clip
from aura.towers.hf import load_hf, resolve, set_hf_checkpointing
from aura.towers.output import TowerOutput
from aura.towers.tower import Tower, TowerSettings
from aura.towers.transformer import masked_mean


class ClipTextConfig(TowerSettings):
    """open_clip text tower."""

    kind: Literal["clip_text"] = "clip_text"
    model: str | dict[str, Any] = Field(
        default="ViT-B-32", description="name in open_clip, or its configuration in place"
    )
    pretrained: str | None = Field(default=None, description="tag in open_clip or a local file; null: random weights")
    max_words: int | None = Field(
        default=None, gt=0, description="cut texts to so many words first, as AURA-MFM's code does"
    )


class HfTextConfig(TowerSettings):
    """A text encoder of transformers: the mean of its last hidden states over the text, of unit norm."""

    kind: Literal["transformers_text"] = "transformers_text"
    model: str | dict[str, Any] = Field(description="local folder, hub name, package:NAME/FOLDER, or a configuration")
    pretrained: bool = True
    revision: str | None = Field(default=None, description="of a model of the hub: a branch, tag or commit")
    tokenizer: str = Field(default="", description="folder or hub name, where it is not the model's")
    length: int = Field(default=64, gt=2, description="longest text in tokens; more is cut, the closing token stays")


@dataclass
class ClipTokenizer:
    """Texts to ids (B, L) of an open_clip model; every row holds the end-of-text token that the tower pools at."""

    tokenizer: Any
    eos: int | None
    max_words: int | None = None

    def __call__(self, texts: list[str]) -> Tensor:
        if self.max_words is not None:
            texts = [" ".join(text.split()[: self.max_words]) for text in texts]
        ids = self.tokenizer(texts)
        if self.eos is not None and not (ids == self.eos).any(1).all():
            row = int((ids == self.eos).any(1).logical_not().nonzero()[0])
            raise ValueError(f"no end-of-text token {self.eos} in the tokens of {texts[row]!r}")
        return ids


@dataclass
class HfTokenizer:
    """Texts to ids (B, L) of a transformers model, padded to one length."""

    tokenizer: Any
    length: int

    def __call__(self, texts: list[str]) -> Tensor:
        return self.tokenizer(
            texts, padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
        ).input_ids


def make_tokenizer(towers: Mapping[str, Any]) -> Callable[[list[str]], Tensor] | None:
    """The tokenizer of a recipe's text towers (stream name -> configuration); None without one.

    ValueError where two of them read tokens differently: a batch holds one kind of tokens.
    """
    configs = [c for c in towers.values() if isinstance(c, ClipTextConfig | HfTextConfig)]
    keys = {repr(c.model_dump(include={"kind", "model", "tokenizer", "length", "max_words"})) for c in configs}
    if len(keys) > 1:
        raise ValueError(
            f"towers: the text towers need different tokens ({', '.join(sorted(keys))}); give them one model"
        )
    return tokenizer(configs[0]) if configs else None


def tokenizer(config: ClipTextConfig | HfTextConfig) -> Callable[[list[str]], Tensor]:
    """Texts to int64 ids (B, L), L fixed by the tower. Can be pickled, for the readers' processes."""
    if isinstance(config, HfTextConfig):
        source = config.tokenizer or config.model
        if not isinstance(source, str):
            raise ValueError("towers.tokenizer: a model from a configuration in place needs one: a folder or a name")
        try:
            revision = {} if config.tokenizer or not config.revision else {"revision": config.revision}
            made = transformers.AutoTokenizer.from_pretrained(resolve(source), trust_remote_code=False, **revision)
            return HfTokenizer(made, config.length)
        except (OSError, ValueError) as error:
            raise RuntimeError(f"towers.tokenizer: {source!r} could not be loaded ({error})") from error
    if isinstance(config.model, str):
        settings = (open_clip.get_model_config(config.model) or {}).get("text_cfg", {})
        made = open_clip.get_tokenizer(config.model)
    else:
        settings = config.model.get("text_cfg", {})
        name = settings.get("hf_tokenizer_name")
        length = settings.get("context_length", 77)
        made = (
            open_clip.tokenizer.HFTokenizer(name, context_length=length)
            if name
            else open_clip.SimpleTokenizer(context_length=length)
        )
    return ClipTokenizer(made, end_of_text(settings, made), config.max_words)


def end_of_text(settings: dict[str, Any], made: Any) -> int | None:
    """Id of the token at which the text tower pools; None where it pools elsewhere.

    ValueError where the tokenizer's own is another one: the tower would pool at a wrong place without any sign.
    """
    pooling = settings.get("pool_type", "argmax")
    if settings.get("hf_model_name") or settings.get("embed_cls") or pooling not in ("argmax", "eos"):
        return None
    theirs = getattr(made, "eot_token_id", None)
    if theirs is None:
        theirs = made.tokenizer.eos_token_id
    ours = settings.get("vocab_size", 49408) - 1 if pooling == "argmax" else settings.get("eos_id", 2)
    if ours != theirs:
        raise ValueError(
            f"towers: the text tower pools at token {ours} ({pooling}), its tokenizer ends texts with {theirs}:"
            " set text_cfg.vocab_size or text_cfg.eos_id"
        )
    return ours


class ClipText(Tower):
    """Ids (B, L), or stored embeddings (B, D), to one embedding a text."""

    lora_targets = ("attn", "c_fc", "c_proj")
    trunk: Any

    def __init__(self, config: ClipTextConfig, input: TextInput, seconds: float) -> None:
        super().__init__()
        self.trunk = load_clip(config.model, config.pretrained).text
        self.width = self.trunk.output_dim

    def encode(self, ids: Tensor) -> Tensor:
        """Embeddings (B, D) of token ids (B, L): what `tools/precompute.py` stores."""
        return self.trunk(ids)

    def forward(self, stream: Stream) -> TowerOutput:
        return text_output(self, stream)

    def blocks(self) -> list[nn.Module]:
        return list(self.trunk.transformer.resblocks)

    def head(self) -> list[nn.Module | nn.Parameter]:
        return [p for p in (self.trunk.ln_final, self.trunk.text_projection) if p is not None]

    def set_checkpointing(self, on: bool) -> None:
        self.trunk.set_grad_checkpointing(on)


class HfText(Tower):
    """Ids (B, L), or stored embeddings (B, D), to one embedding a text."""

    lora_targets = ("q_proj", "v_proj", "query", "value", "q_lin", "v_lin")
    trunk: Any

    def __init__(self, config: HfTextConfig, input: TextInput, seconds: float) -> None:
        super().__init__()
        self.trunk = load_hf(config.model, config.pretrained, config.revision)
        longest = getattr(self.trunk.config, "max_position_embeddings", config.length)
        if config.length > longest:
            raise ValueError(f"towers.length {config.length}: the model reads at most {longest} tokens")
        if getattr(self.trunk, "pooler", None) is not None:
            self.trunk.pooler = None  # its weights would get no gradient
        self.width = self.trunk.config.hidden_size
        self.pad = self.trunk.config.pad_token_id

    def encode(self, ids: Tensor) -> Tensor:
        """Embeddings (B, D) of token ids (B, L): what `tools/precompute.py` stores."""
        mask = ids != self.pad if self.pad is not None else torch.ones_like(ids, dtype=torch.bool)
        mask = mask | ~mask.any(1, keepdim=True)
        hidden = self.trunk(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return F.normalize(masked_mean(hidden, mask, 1), dim=-1)

    def forward(self, stream: Stream) -> TowerOutput:
        return text_output(self, stream)

    def blocks(self) -> list[nn.Module]:
        return list(self.trunk.encoder.layer)

    def head(self) -> list[nn.Module | nn.Parameter]:
        return []

    def set_checkpointing(self, on: bool) -> None:
        set_hf_checkpointing(self.trunk, on)


def text_output(tower: ClipText | HfText, stream: Stream) -> TowerOutput:
    """A text has no time of its own: one token."""
    pooled = stream.values if stream.values.is_floating_point() else tower.encode(stream.values)
    return TowerOutput(pooled, pooled[:, None, None], stream.present[:, None, None])
