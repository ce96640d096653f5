"""Towers for video: a CLIP image tower over frames, or a video model of transformers."""

from __future__ import annotations

from typing import Any, Literal

import open_clip
import torch
import transformers
from pydantic import Field
from torch import Tensor, nn

from aura.data.batch import Stream
from aura.data.config import VideoInput
from aura.towers.clip import clip_width, load_clip
from aura.towers.hf import load_hf, set_hf_checkpointing
from aura.towers.output import TowerOutput
from aura.towers.tower import Tower, TowerSettings
from aura.towers.transformer import Transformer, masked_mean


class ClipVideoConfig(TowerSettings):
    """open_clip image tower on every frame, then the mean or a small Transformer over the frames."""

    kind: Literal["clip_video"] = "clip_video"
    model: str | dict[str, Any] = Field(
        default="ViT-B-32", description="name in open_clip, or its configuration in place"
    )
    pretrained: str | None = Field(default=None, description="tag in open_clip or a local file; null: random weights")
    normalize: bool = Field(default=True, description="false: pixels in [0, 1], as IMU2CLIP and AURA-MFM feed CLIP")
    temporal: Literal["mean", "transformer"] = "mean"
    depth: int = Field(default=2, gt=0, description="layers of the temporal Transformer")


class HfVideoConfig(TowerSettings):
    """A video model of transformers that takes (B, T, C, H, W), such as VideoMAE."""

    kind: Literal["transformers_video"] = "transformers_video"
    model: str | dict[str, Any] = Field(description="local folder or hub name, or a configuration with its model_type")
    pretrained: bool = True
    revision: str | None = Field(default=None, description="of a model of the hub: a branch, tag or commit")


class Normalize(nn.Module):
    """uint8 pixels (..., 3, H, W) to the zero mean and unit deviation that a trunk was trained with."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels - self.mean) / self.std


class ClipVideo(Tower):
    """Frames (B, F, 3, H, W) uint8, or their stored embeddings (B, F, D), to one embedding of a window."""

    lora_targets = ("attn", "c_fc", "c_proj")
    trunk: Any

    def __init__(self, config: ClipVideoConfig, input: VideoInput, seconds: float) -> None:
        super().__init__()
        self.trunk = load_clip(config.model, config.pretrained).visual
        self.timm = getattr(self.trunk, "trunk", None)  # open_clip takes some of its image towers from timm
        size = self.trunk.image_size
        if tuple(size if isinstance(size, tuple | list) else (size, size)) != (input.size, input.size):
            raise ValueError(f"inputs.size is {input.size}, but the tower's image model takes {size} pixels")
        self.width = self.trunk.output_dim if self.timm is None else clip_width(config.model)
        known = getattr(self.trunk, "preprocess_cfg", None) or {}
        mean, std = known.get("mean", open_clip.OPENAI_DATASET_MEAN), known.get("std", open_clip.OPENAI_DATASET_STD)
        self.normalize = Normalize(mean, std) if config.normalize else Normalize((0, 0, 0), (1, 1, 1))
        self.temporal = None
        if config.temporal == "transformer":
            self.temporal = Transformer(self.width, config.depth, max(1, self.width // 64))

    def encode(self, frames: Tensor) -> Tensor:
        """Embeddings (n, D) of frames (n, 3, H, W) uint8: what `tools/precompute.py` stores."""
        return self.trunk(self.normalize(frames))

    def forward(self, stream: Stream) -> TowerOutput:
        tokens, mask = stream.values, stream.valid
        if not tokens.is_floating_point():
            b, f = tokens.shape[:2]
            tokens = self.encode(tokens.flatten(0, 1)).unflatten(0, (b, f))
        tokens = torch.where(mask[..., None], tokens, 0.0)
        if self.temporal is not None:
            tokens = self.temporal(tokens, mask)
        return TowerOutput(masked_mean(tokens, mask, 1), tokens[:, None], mask[:, None])

    def blocks(self) -> list[nn.Module]:
        if self.timm is not None:
            return list(self.timm.blocks if hasattr(self.timm, "blocks") else self.timm.stages)
        return list(self.trunk.transformer.resblocks)

    def head(self) -> list[nn.Module | nn.Parameter]:
        if self.timm is not None:
            ends = [self.timm.norm] if hasattr(self.timm, "norm") else [self.timm.head]
            return [p for p in (*ends, self.trunk.head, self.temporal) if p is not None]
        return [p for p in (self.trunk.ln_post, self.trunk.proj, self.temporal) if p is not None]

    def set_checkpointing(self, on: bool) -> None:
        self.trunk.set_grad_checkpointing(on)
        if self.temporal is not None:
            self.temporal.checkpointing = on


class HfVideo(Tower):
    """Frames (B, F, 3, H, W) uint8, or stored embeddings of clips (B, n, D), to one embedding of a window."""

    lora_targets = ("q_proj", "v_proj", "query", "value")
    trunk: Any

    def __init__(self, config: HfVideoConfig, input: VideoInput, seconds: float) -> None:
        super().__init__()
        self.trunk = load_hf(config.model, config.pretrained, config.revision)
        settings = self.trunk.config
        for key, ours, theirs in (
            ("size", input.size, getattr(settings, "image_size", input.size)),
            ("frames", input.frames, getattr(settings, "num_frames", input.frames)),
        ):
            if ours != theirs:
                raise ValueError(f"inputs.{key} is {ours}, but the tower's model {settings.model_type} takes {theirs}")
        self.width = settings.hidden_size
        self.tubelet = getattr(settings, "tubelet_size", 1)
        self.normalize = Normalize(*hf_image_statistics(config))

    def encode(self, frames: Tensor) -> Tensor:
        """Tokens in time (B, F / tubelet, D) of frames (B, F, 3, H, W) uint8: the mean over each moment's patches."""
        hidden = self.trunk(pixel_values=self.normalize(frames)).last_hidden_state
        moments = frames.shape[1] // self.tubelet
        patches = hidden.shape[1] // moments * moments
        return hidden[:, hidden.shape[1] - patches :].unflatten(1, (moments, -1)).mean(2)

    def forward(self, stream: Stream) -> TowerOutput:
        tokens, mask = stream.values, stream.valid
        if not tokens.is_floating_point():
            tokens = self.encode(tokens)
            mask = mask.unflatten(1, (-1, self.tubelet)).any(2)
        tokens = torch.where(mask[..., None], tokens, 0.0)
        return TowerOutput(masked_mean(tokens, mask, 1), tokens[:, None], mask[:, None])

    def blocks(self) -> list[nn.Module]:
        return list(self.trunk.encoder.layer)

    def head(self) -> list[nn.Module | nn.Parameter]:
        norm = getattr(self.trunk, "layernorm", None)
        return [] if norm is None else [norm]

    def set_checkpointing(self, on: bool) -> None:
        set_hf_checkpointing(self.trunk, on)


def hf_image_statistics(config: HfVideoConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the model's own preprocessing; ImageNet's, as VideoMAE uses, where none is stored."""
    if isinstance(config.model, str) and config.pretrained:
        try:
            processor = transformers.AutoImageProcessor.from_pretrained(config.model)
            return tuple(processor.image_mean), tuple(processor.image_std)
        except OSError:  # a folder of weights without a preprocessor
            pass
    return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
