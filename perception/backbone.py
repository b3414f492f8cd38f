"""Pictures to feature maps: any timm network, and the neck that joins its levels at one stride."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from perception.detector_config import STRIDE, DetectorConfig
from roadloop.config import unknown
from roadloop.errors import RoadloopError

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""of ImageNet's colours in [0, 1], what timm's weights were trained on"""


class Backbone(nn.Module):
    """A timm network as feature maps of some strides.

    Attributes:
        channels, strides: of each map that ``forward`` gives.

    Raises:
        RoadloopError: a network that timm does not know, or that gives no maps of these strides.
    """

    def __init__(self, name: str, strides: Sequence[int], size: tuple[int, int]) -> None:
        super().__init__()
        import timm

        self.name = name
        width, height = size
        family = name.partition(".")[0]
        if family not in timm.list_models():
            raise RoadloopError(unknown("backbone", name, timm.list_models()))
        # timm's transformers have maps of one stride, and need the size of the picture
        options: dict[str, Any] = {"img_size": (height, width)} if _is_plain(family) else {}
        try:
            probe: Any = timm.create_model(name, features_only=True, pretrained=False, **options)
        except (RuntimeError, TypeError, AttributeError, AssertionError) as error:
            raise RoadloopError(f'backbone "{name}" gives no feature maps: {error}') from error
        reductions = probe.feature_info.reduction()
        if len(set(reductions)) == 1:
            picked = [len(reductions) - 1]
        else:
            missing = [s for s in strides if s not in reductions]
            if missing:
                raise RoadloopError(
                    f'backbone "{name}" gives no feature map of stride {missing[0]}, only of '
                    f"{', '.join(map(str, reductions))}"
                )
            picked = [reductions.index(s) for s in strides]
        body = timm.create_model(
            name, features_only=True, pretrained=False, out_indices=tuple(picked), **options
        )
        self.body: nn.Module = body
        self.channels = [probe.feature_info.channels()[k] for k in picked]
        self.strides = [reductions[k] for k in picked]

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(n, 3, H, W) normalised -> maps (n, channels, H / stride, W / stride)."""
        return self.body(pictures)

    def load_pretrained(self, where: str) -> None:
        """Weights of a local safetensors file, or with ``"timm"`` of its hub, where one is online.

        Raises RoadloopError where they do not fit or cannot be had.
        """
        import timm
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        name = self.name
        if where == "timm":
            try:
                donor = timm.create_model(name, pretrained=True).state_dict()
            except (OSError, RuntimeError) as error:
                raise RoadloopError(
                    f'no weights of "{name}" from timm\'s hub: {error}; give a local .safetensors'
                ) from error
        else:
            try:
                donor = load_file(Path(where))
            except (OSError, SafetensorError) as error:
                raise RoadloopError(f"{where} is no readable .safetensors: {error}") from error
        own = self.body.state_dict()
        fitting = {k: v for k, v in donor.items() if k in own and own[k].shape == v.shape}
        if len(fitting) < len(own) // 2:
            raise RoadloopError(
                f'{where} holds {len(fitting)} of the {len(own)} tensors of "{name}": weights of '
                "another network?"
            )
        self.body.load_state_dict(fitting, strict=False)


class Fpn(nn.Module):
    """Feature pyramid (Lin et al., CVPR 2017) down to one map of `STRIDE`."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int], out: int) -> None:
        super().__init__()
        self.strides = list(strides)
        self.lateral = nn.ModuleList(nn.Conv2d(c, out, 1, bias=False) for c in channels)
        self.norm = nn.ModuleList(nn.BatchNorm2d(out) for _ in channels)
        self.smooth = conv(out, out)

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Maps, finest first -> (n, out, *size)."""
        levels = [norm(lateral(m)) for norm, lateral, m in zip(self.norm, self.lateral, maps)]
        joined = levels[-1]
        for level in reversed(levels[:-1]):
            joined = level + resized(joined, level.shape[-2:])
        return self.smooth(resized(torch.relu(joined), size))


class BiFpn(nn.Module):
    """Weighted pyramid in both directions (Tan et al., EfficientDet, CVPR 2020), then one map."""

    def __init__(
        self, channels: Sequence[int], strides: Sequence[int], out: int, layers: int
    ) -> None:
        super().__init__()
        levels = len(channels)
        self.lateral = nn.ModuleList(nn.Conv2d(c, out, 1, bias=False) for c in channels)
        self.norm = nn.ModuleList(nn.BatchNorm2d(out) for _ in channels)

        steps = layers * (levels - 1)
        self.down = nn.ModuleList(conv(out, out, groups=out) for _ in range(steps))
        self.up = nn.ModuleList(conv(out, out, groups=out) for _ in range(steps))
        self.down_weight = nn.Parameter(torch.ones(layers, levels - 1, 2))
        self.up_weight = nn.Parameter(torch.ones(layers, levels - 1, 3))
        self.smooth = conv(out, out)

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Maps, finest first -> (n, out, *size)."""
        levels = [self.norm[k](self.lateral[k](m)) for k, m in enumerate(maps)]
        for layer in range(len(self.down_weight)):
            shares = torch.relu(self.down_weight[layer]) + 1e-4
            shares = shares / shares.sum(-1, keepdim=True)
            middle = list(levels)
            for k in reversed(range(len(levels) - 1)):
                coarse = resized(middle[k + 1], levels[k].shape[-2:])
                mixed = shares[k, 0] * levels[k] + shares[k, 1] * coarse
                middle[k] = self.down[layer * (len(levels) - 1) + k](mixed)
            shares = torch.relu(self.up_weight[layer]) + 1e-4
            shares = shares / shares.sum(-1, keepdim=True)
            found = [middle[0]]
            for k in range(1, len(levels)):
                fine = resized(found[-1], levels[k].shape[-2:])
                own, both, below = shares[k - 1]
                mixed = own * levels[k] + both * middle[k] + below * fine
                found.append(self.up[layer * (len(levels) - 1) + k - 1](mixed))
            levels = found
        joined = levels[-1]
        for level in reversed(levels[:-1]):
            joined = level + resized(joined, level.shape[-2:])
        return self.smooth(resized(joined, size))


class PictureFeatures(nn.Module):
    """Pictures (n, 3, H, W) uint8 or [0, 255] -> features (n, C, H / 8, W / 8) and the pictures
    normalised."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.backbone = Backbone(config.backbone, config.strides, config.size)
        found = self.backbone
        self.neck = (
            Fpn(found.channels, found.strides, config.channels)
            if config.neck == "fpn"
            else BiFpn(found.channels, found.strides, config.channels, config.neck_layers)
        )
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", 255.0 * torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255.0 * torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        normal = (pictures.to(self.mean.dtype) - self.mean) / self.std
        size = (pictures.shape[-2] // STRIDE, pictures.shape[-1] // STRIDE)
        return self.neck(self.backbone(normal), size), normal


def conv(
    channels: int, out: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, normalisation, ReLU; with groups a pointwise convolution follows."""
    parts: list[nn.Module] = [
        nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    ]
    if groups > 1:
        parts.append(nn.Conv2d(out, out, 1, bias=False))
    return nn.Sequential(*parts, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (..., h, w) bilinearly at another size."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def _is_plain(family: str) -> bool:
    """Whether a network is a plain vision transformer, with maps of one stride only."""
    return family.startswith(("vit_", "deit", "eva", "beit"))
