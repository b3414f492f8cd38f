"""The bird's-eye part of the network: memory over time, residual U-Net, coarse attention."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, grid_sample, scaled_dot_product_attention

from perception.backbone import conv, resized
from perception.detector_config import BevGrid, DetectorConfig


class Memory(nn.Module):
    """One recurrent state, moved with the ego and updated by a gate (GRU without a reset gate).

    ``x`` is this moment's map, ``state`` that of a moment before, both (B, D, X, Y). The state is
    sampled where the present cells were then; cells that were beyond the grid start from ``x``.
    """

    def __init__(self, channels: int, grid: BevGrid) -> None:
        super().__init__()
        self.both = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.norm = nn.BatchNorm2d(channels)
        self.grid = grid
        self.centres: Tensor
        centres = torch.from_numpy(grid.centres()).float().reshape(-1, 2)
        self.register_buffer("centres", centres, persistent=False)

    def forward(
        self, x: Tensor, state: Tensor, motion: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            motion: (B, 3) x, y, yaw of the ego now in the frame of the state.
            valid: (B,) bool or 0, 1; 0: the state is not used.

        Returns:
            What `finish` makes into what the rest of the network sees, and the next state.
        """
        before, known = self.moved(state, motion)
        known = known * valid.view(-1, 1, 1, 1).to(known.dtype)
        before = before * known
        # both go on: the difference of then and now is how velocity is seen
        mixed, gate = self.both(torch.cat([x, before], 1)).chunk(2, 1)
        gate = 1.0 - known * (1.0 - torch.sigmoid(gate))
        return mixed, before + gate * (x - before)

    def finish(self, mixed: Tensor) -> Tensor:
        """The rest, which may be done for many moments at once."""
        return torch.relu(self.norm(mixed))

    def moved(self, state: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """The state in the present cells (B, D, X, Y), and (B, 1, X, Y) where it was within."""
        grid = self.grid
        c, s = torch.cos(motion[:, 2:]), torch.sin(motion[:, 2:])
        x = c * self.centres[:, 0] - s * self.centres[:, 1] + motion[:, :1]
        y = s * self.centres[:, 0] + c * self.centres[:, 1] + motion[:, 1:2]
        along = 2.0 * (x - grid.x_min) / (grid.nx * grid.cell) - 1.0
        aside = 2.0 * (y - grid.y_min) / (grid.ny * grid.cell) - 1.0
        # rows of the map are x: the second coordinate of grid_sample
        places = torch.stack([aside, along], -1).view(-1, *grid.shape, 2)
        # places in bfloat16 would be off by a sixteenth of a cell
        found = grid_sample(state.to(places.dtype), places, align_corners=False).to(state.dtype)
        known = (places.abs().amax(-1) <= 1.0).to(state.dtype)
        return found, known[:, None]


class Block(nn.Module):
    """Two convolutions beside a shortcut (He et al., CVPR 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(self.first(x)))


class _Layer(nn.Module):
    """A transformer layer, normalised first (Xiong et al., ICML 2020): tokens (B, n, C)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.up, self.down = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, channels = tokens.shape
        q, k, v = (
            part.view(batch, count, self.heads, channels // self.heads).transpose(1, 2)
            for part in self.qkv(self.norm(tokens)).chunk(3, -1)
        )
        seen = scaled_dot_product_attention(q, k, v).transpose(1, 2)
        tokens = tokens + self.out(seen.reshape(batch, count, channels))
        return tokens + self.down(torch.relu(self.up(self.norm2(tokens))))


class Attention(nn.Module):
    """Transformer layers over a coarse grid of tokens, added to the map they were pooled from."""

    def __init__(self, channels: int, tokens: int, layers: int, heads: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.place = nn.Parameter(0.02 * torch.randn(tokens * tokens, channels))
        self.layers = nn.ModuleList(_Layer(channels, heads) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, rows, columns = x.shape
        pooled = x
        if (rows, columns) != (self.tokens, self.tokens):
            pooled = adaptive_avg_pool2d(x, self.tokens)
        tokens = pooled.flatten(2).transpose(1, 2) + self.place
        for layer in self.layers:
            tokens = layer(tokens)
        back = tokens.transpose(1, 2).reshape(batch, channels, self.tokens, self.tokens)
        return x + resized(back, (rows, columns))


class Trunk(nn.Module):
    """U-Net of residual blocks over the grid (B, D, X, Y) -> (B, D, X, Y)."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        levels = [config.bev_channels, *config.bev_down]

        def blocks(channels: int) -> nn.Sequential:
            return nn.Sequential(*(Block(channels) for _ in range(config.bev_blocks)))

        self.down = nn.ModuleList(
            nn.Sequential(conv(a, b, stride=2), blocks(b)) for a, b in pairwise(levels)
        )
        self.up = nn.ModuleList(conv(b, a, kernel=1) for a, b in pairwise(levels))
        # one convolution where it is fine: half of all multiplications would be here
        self.join = nn.ModuleList(conv(a, a) for a in levels[:-1])
        self.attention = (
            Attention(
                levels[-1],
                config.attention_tokens,
                config.attention_layers,
                config.attention_heads,
            )
            if config.attention_layers
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        beside = []
        for step in self.down:
            beside.append(x)
            x = step(x)
        x = self.attention(x)
        for up, join, fine in zip(
            reversed(self.up), reversed(self.join), reversed(beside), strict=True
        ):
            x = join(fine + resized(up(x), fine.shape[-2:]))
        return x
