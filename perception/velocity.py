"""How fast road users move, from where the network found them in the two moments before.

What was found goes on in the state, and the head compares it with what is found now, moved with the
ego: who stands is in the same cells, who moves has left others behind. The heatmaps of before as an
input are after CenterTrack (Zhou et al., ECCV 2020). The head is shown nothing else: with the
features beside them it learns how moving cars look, which is what it must not rely on, and takes
longer (after 400 steps from 192 moments, 2.1 m/s on others where heatmaps alone give 1.8).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perception.backbone import conv, resized
from perception.detector_config import ObjectClass

FOUND = len(ObjectClass) + 3
"""planes of a moment: heatmaps, where in the cell the centre is (along, aside), 1: there was one"""
TRAIL = 2 * FOUND
"""planes of the two moments before, in the present cells; 0 where there is none"""
WIDTH = 48
DILATIONS = (1, 2, 4, 4)
"""at half the resolution: with the convolution before it 24 cells to each side, 19 m of 0.8 m
cells, which a car of 38 m/s covers in half a second"""
FAST = 10.0
"""m/s, to which the velocities that are put in are scaled"""


class VelocityHead(nn.Module):
    """What is found now and was found before -> what is added to the boxes' velocities."""

    def __init__(self) -> None:
        super().__init__()
        self.join = conv(FOUND + 5 + TRAIL, WIDTH, stride=2)
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

    def forward(self, trail: Tensor, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """``box`` and ``box_log_var`` of ``outputs`` with the velocities that this head tells.

        Args:
            trail: (B, `TRAIL`, X, Y), `found` of the moment before, and of the one before that.
        """
        box, spread = outputs["box"], outputs["box_log_var"]
        # detached: where somebody is must not depend on what that does for velocities
        looks = torch.cat([box[:, 6:9], box[:, 9:11] / FAST], 1).detach()
        seen = self.join(torch.cat([found(outputs), looks, trail], 1))
        for layer in self.wide:
            seen = seen + layer(seen)
        velocity, log_var = resized(self.out(seen), box.shape[-2:]).chunk(2, 1)
        return {
            "box": torch.cat([box[:, :9], box[:, 9:11] + velocity], 1),
            "box_log_var": torch.cat([spread[:, :3], spread[:, 3:5] + log_var], 1),
        }


def found(outputs: dict[str, Tensor]) -> Tensor:
    """(B, `FOUND`, X, Y) of a moment, for the trail of later ones."""
    heat = outputs["heat"].detach().sigmoid()
    within = outputs["box"][:, :2].detach() * heat.amax(1, keepdim=True)
    return torch.cat([heat, within, torch.ones_like(heat[:, :1])], 1)
