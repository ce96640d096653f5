"""ImageBind (arXiv 2305.05665): its towers for one IMU and for video. Written from the description and from the names and shapes
of its released weights (github.com/facebookresearch/ImageBind, 53680b0). Its text tower is `clip_text`, from the same file.

What it was fed of an IMU is not released. Known: 6 x 2000 items in patches of 8 (code), 5 s, accelerometer before gyroscope
(paper), so 400 Hz. Taken from the loader for Ego4D that the same group published (pytorchvideo): each channel has zero mean and
unit deviation, there over the recording, here over the window. A shorter window is repeated; that is ours. Dropout and
stochastic depth of its training are left out.
"""

from __future__ import annotations

import math
from typing import Literal

import open_clip
import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from aura.data.batch import Stream
from aura.data.config import ImuInput, VideoInput
from aura.towers.baselines.inputs import window_shape
from aura.towers.output import TowerOutput
from aura.towers.outside.released import Release, Weights, check_window, wrapped
from aura.towers.tower import Tower, TowerSettings
from aura.towers.transformer import masked_mean
from aura.towers.video import Normalize

ITEMS, ITEMS_OF_PATCH = 2000, 8
PIXELS_OF_PATCH, FRAMES_OF_CLIP = 14, 2
EPS = 1e-6  # of all layer norms but that of the IMU's patches
STILL = 1e-3  # m/s^2 or rad/s: a channel that varies less is rounding, and is not blown up to a deviation of 1


class ImagebindImuConfig(TowerSettings):
    kind: Literal["imagebind_imu"] = "imagebind_imu"
    width: int = Field(default=512, gt=0)
    depth: int = Field(default=6, gt=0)
    heads: int = Field(default=8, gt=0)
    output: int = Field(default=1024, gt=0)
    standardize: bool = Field(default=True, description="each channel of a window to mean 0 and deviation 1")


class ImagebindVideoConfig(TowerSettings):
    kind: Literal["imagebind_video"] = "imagebind_video"
    width: int = Field(default=1280, gt=0)
    depth: int = Field(default=32, gt=0)
    heads: int = Field(default=16, gt=0)
    output: int = Field(default=1024, gt=0)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); `extra`: a learned key and value beside those of the tokens."""

    def __init__(self, width: int, heads: int, extra: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, EPS)
        self.qkv = nn.Linear(width, 3 * width)
        self.extra_key = nn.Parameter(torch.zeros(1, 1, width)) if extra else None
        self.extra_value = nn.Parameter(torch.zeros(1, 1, width)) if extra else None
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, EPS)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, W)."""
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        if self.extra_key is not None and self.extra_value is not None:
            k = torch.cat([k, self.extra_key.expand(len(k), -1, -1).type_as(k)], dim=1)
            v = torch.cat([v, self.extra_value.expand(len(v), -1, -1).type_as(v)], dim=1)
        q, k, v = (rearrange(y, "b n (h w) -> b h n w", h=self.heads) for y in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out(rearrange(y, "b h n w -> b n (h w)"))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Imagebind(Tower):
    """Patches after a class token, pre-norm blocks, and a linear head on the class token."""

    any_length = False  # a learned position for each patch

    def __init__(self, config: ImagebindImuConfig | ImagebindVideoConfig, patches: int, extra: bool) -> None:
        super().__init__()
        if config.width % config.heads:
            raise ValueError(f"width {config.width} is no whole number of {config.heads} heads")
        self.width, self.checkpointing = config.output, False
        self.class_token = nn.Parameter(torch.empty(1, 1, config.width))
        self.positions = nn.Parameter(torch.empty(1, 1 + patches, config.width))
        self.layers = nn.ModuleList([Block(config.width, config.heads, extra) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(config.width, EPS)
        self.project = nn.Linear(config.width, config.output, bias=False)
        for parameter in (self.class_token, self.positions):
            nn.init.trunc_normal_(parameter, std=0.02)

    def placed(self, patches: Tensor) -> Tensor:
        """Patches (B, N, W) with the class token before them, at their places."""
        return torch.cat([self.class_token.expand(len(patches), -1, -1).type_as(patches), patches], 1) + self.positions

    def encode(self, x: Tensor) -> Tensor:
        """Tokens (B, 1 + N, W) to embeddings (B, output)."""
        for layer in self.layers:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, use_reentrant=False)
            else:
                x = layer(x)
        return self.project(self.norm(x[:, 0]))

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)

    def head(self) -> list[nn.Module | nn.Parameter]:
        return [self.norm, self.project]

    def set_checkpointing(self, on: bool) -> None:
        self.checkpointing = on


class ImagebindImu(Imagebind):
    """One sensor; windows of up to 2000 items, shorter ones are repeated."""

    def __init__(self, config: ImagebindImuConfig, input: ImuInput, seconds: float) -> None:
        channels, _ = window_shape(config.kind, input, seconds)
        check_window(config.kind, seconds, input.rate_hz, ITEMS)
        super().__init__(config, ITEMS // ITEMS_OF_PATCH, extra=True)
        self.longest_s = ITEMS / input.rate_hz
        self.standardize = config.standardize
        self.stem = nn.Linear(channels * ITEMS_OF_PATCH, config.width, bias=False)
        self.stem_norm = nn.LayerNorm(config.width)

    def forward(self, stream: Stream) -> TowerOutput:
        """values (B, 1, T, 6) -> pooled (B, output); its one token is the window."""
        stream = stream.cleaned()
        x = stream.values
        if self.standardize:
            x = standardized(x, stream.valid)
        x = wrapped(x, stream.valid, ITEMS)[:, 0]
        x = self.stem_norm(self.stem(rearrange(x, "b (n t) c -> b n (c t)", t=ITEMS_OF_PATCH)))
        pooled = self.encode(self.placed(x))
        return TowerOutput(pooled, pooled[:, None, None], stream.present[:, None, None])


class ImagebindVideo(Imagebind):
    """Clips of two frames each; the mean of their embeddings of unit norm."""

    def __init__(self, config: ImagebindVideoConfig, input: VideoInput, seconds: float) -> None:
        if input.frames % FRAMES_OF_CLIP or input.size % PIXELS_OF_PATCH:
            raise ValueError(
                f"inputs.frames is {input.frames} and inputs.size {input.size}: a tower of kind 'imagebind_video' reads"
                f" pairs of frames, in patches of {PIXELS_OF_PATCH} pixels; the released one 224 pixels"
            )
        super().__init__(config, (input.size // PIXELS_OF_PATCH) ** 2, extra=False)
        patch = (FRAMES_OF_CLIP, PIXELS_OF_PATCH, PIXELS_OF_PATCH)
        self.normalize = Normalize(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
        self.stem = nn.Conv3d(3, config.width, patch, stride=patch, bias=False)
        self.first_norm = nn.LayerNorm(config.width, EPS)

    def forward(self, stream: Stream) -> TowerOutput:
        """values (B, F, 3, H, W) uint8 -> pooled (B, output), tokens (B, 1, F / 2, output). A frame that is missing is its
        neighbour's twin, as an image is."""
        frames = stream.values.unflatten(1, (-1, FRAMES_OF_CLIP))
        valid = stream.valid.unflatten(1, (-1, FRAMES_OF_CLIP))
        frames = torch.where(valid[..., None, None, None], frames, frames.flip(2))
        pixels = rearrange(self.normalize(frames), "b n f c h w -> (b n) c f h w")
        x = self.first_norm(self.placed(self.stem(pixels).flatten(2).transpose(1, 2)))
        tokens = F.normalize(self.encode(x).float(), dim=-1).unflatten(0, frames.shape[:2])
        mask = valid.any(2)
        return TowerOutput(masked_mean(tokens, mask, 1), tokens[:, None], mask[:, None])


def standardized(values: Tensor, known: Tensor) -> Tensor:
    """values (B, S, T, C) with mean 0 and deviation 1 of each channel over its known items (B, S, T); zeros elsewhere. A channel
    that hardly varies stays near 0."""
    weight = known[..., None].to(values.dtype)
    count = weight.sum(2, keepdim=True).clamp(min=1)
    centred = (values - (values * weight).sum(2, keepdim=True) / count) * weight
    return centred / (centred.square().sum(2, keepdim=True) / count).sqrt().clamp(min=STILL)


def layout(stream: str, name: str, tensor: Tensor) -> Tensor:
    if stream == "text" and name == "trunk.positional_embedding":
        return tensor[0]
    return tensor.T if stream == "text" and name == "trunk.text_projection" else tensor


def scales(weights: Weights) -> dict[str, float]:
    """Its embeddings leave the model already scaled: IMU by 5, text by a learned number of at most 100, vision by 1."""
    imu, text = (
        min(math.exp(float(weights[f"modality_postprocessors.{name}.1.log_logit_scale"])), 100.0)
        for name in ("imu", "text")
    )
    return {"imu:text": imu * text, "video:text": text, "imu:video": imu}


def _names(modality: str, head: int, stem: str, positions: str) -> tuple[tuple[str, str], ...]:
    before, trunk = f"modality_preprocessors.{modality}.", f"modality_trunks.{modality}."
    layer, block = r"layers\.(\d+)\.", trunk + r"blocks.\1."
    return (
        (r"class_token", before + "cls_token"),
        (r"positions", before + positions),
        (r"stem_norm\.", before + "imu_stem.norm_layer."),
        (r"stem\.", before + stem),
        (r"first_norm\.", trunk + "pre_transformer_layer.0."),
        (layer + r"qkv\.", block + "attn.in_proj_"),
        (layer + r"extra_key", block + "attn.bias_k"),
        (layer + r"extra_value", block + "attn.bias_v"),
        (layer + r"out\.", block + "attn.out_proj."),
        (layer + r"norm(\d)\.", block + r"norm_\2."),
        (layer + r"up\.", block + "mlp.fc1."),
        (layer + r"down\.", block + "mlp.fc2."),
        (r"norm\.", f"modality_heads.{modality}.0."),
        (r"project\.", f"modality_heads.{modality}.{head}."),
    )


_LAYER, _BLOCK = r"trunk\.transformer\.resblocks\.(\d+)\.", r"modality_trunks.text.blocks.\1."
RELEASE = Release(
    names={
        "imu": _names("imu", 3, "imu_stem.proj.", "pos_embed"),
        "video": _names("vision", 2, "rgbt_stem.proj.1.", "pos_embedding_helper.pos_embed"),
        "text": (
            (r"trunk\.positional_embedding", r"modality_preprocessors.text.pos_embed"),
            (r"trunk\.token_embedding\.", r"modality_preprocessors.text.token_embedding."),
            (_LAYER + r"ln_(\d)\.", _BLOCK + r"norm_\2."),
            (_LAYER + r"mlp\.c_fc\.", _BLOCK + r"mlp.fc1."),
            (_LAYER + r"mlp\.c_proj\.", _BLOCK + r"mlp.fc2."),
            (_LAYER, _BLOCK),
            (r"trunk\.ln_final\.", r"modality_heads.text.proj.0."),
            (r"trunk\.text_projection", r"modality_heads.text.proj.1.weight"),
        ),
    },
    parts={s: rf"modality_\w+\.{m}\." for s, m in (("imu", "imu"), ("video", "vision"), ("text", "text"))},
    # Its other modalities, what `scales` reads, and the causal mask.
    unread=r"modality_\w+\.(audio|depth|thermal)\.|modality_postprocessors\.|modality_preprocessors\.text\.mask$",
    scales=scales,
    trained_on="ImageBind: Ego4D for its IMU tower, OpenCLIP's ViT-H (LAION-2B) for text and video (arXiv 2305.05665)",
    layout=layout,
)
