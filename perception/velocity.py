"""How fast road users move, from where the network saw them in the two moments before.

Where somebody is, the heatmaps say. They go on in the state, beside a few channels of the map they
are made from, and the head compares the present ones with those of two moments before, moved with
the ego: who stands is in the same cells, who moves has left others behind. The heatmaps of before
as an input are after CenterTrack (Zhou et al., ECCV 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perception.backbone import conv, resized
from perception.detector_config import ObjectClass

WIDTH = 48
DILATIONS = (1, 2, 4, 4)
"""at half the resolution: with the convolution before it 24 cells to each side, 19 m of 0.8 m
cells, which a car of 38 m/s covers in half a second"""


class VelocityHead(nn.Module):
    """The present map (B, C, X, Y) and the trail (B, 2 K, X, Y) -> what it adds to the boxes'.

    The trail is `kept` of the moment before and of the one before that, in the present cells, 0
    where there is none; its last channel of each is 1 where there is one.

    Args:
        channels: C.
        trail: K, more than the classes of objects.
    """

    def __init__(self, channels: int, trail: int) -> None:
        super().__init__()
        self.trail = trail
        classes = len(ObjectClass)
        self.keep = conv(channels, trail - classes - 1, kernel=1)
        self.join = conv(channels + classes + 2 * trail, WIDTH, stride=2)
        self.wide = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(WIDTH, WIDTH, 3, padding=d, dilation=d, bias=False),
                nn.BatchNorm2d(WIDTH),
                nn.ReLU(inplace=True),
            )
            for d in DILATIONS
        )
        self.out = nn.Conv2d(WIDTH, 4, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def kept(self, x: Tensor, heat: Tensor) -> Tensor:
        """(B, K, X, Y) of a map and its heatmaps (logits), for the trail of later moments."""
        return torch.cat([heat.detach().sigmoid(), self.keep(x), torch.ones_like(x[:, :1])], 1)

    def forward(self, x: Tensor, trail: Tensor, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """``box`` and ``box_log_var`` of ``outputs`` with the velocities that this head tells."""
        # detached: where somebody is must not depend on what that does for velocities
        seen = self.join(torch.cat([x, outputs["heat"].detach().sigmoid(), trail], 1))
        for layer in self.wide:
            seen = seen + layer(seen)
        velocity, log_var = resized(self.out(seen), x.shape[-2:]).chunk(2, 1)
        box, spread = outputs["box"], outputs["box_log_var"]
        return {
            "box": torch.cat([box[:, :-2], box[:, -2:] + velocity], 1),
            "box_log_var": torch.cat([spread[:, :-2], spread[:, -2:] + log_var], 1),
        }
