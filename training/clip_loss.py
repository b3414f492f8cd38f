"""A detector's loss on clips of a few moments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from perception.detector_loss import detector_loss
from perception.frame import INPUTS, TARGETS
from perception.network import DetectorNetwork
from roadloop.errors import RoadloopError
from training.detector_training import DetectorTraining

Clip = Mapping[str, Any]
"""Arrays of `perception.frame` (B, T, ...), ``moment_valid`` (B, T) bool, ``drive`` text."""


class ClipLoss(nn.Module):
    """Clips through the network; the loss of all their valid moments."""

    def __init__(self, network: DetectorNetwork, config: DetectorTraining) -> None:
        super().__init__()
        self.network, self.config = network, config

    def forward(
        self, clip: Clip, uncertain: float, dropped: Tensor | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Every term of the loss, and the outputs of the last moment.

        Args:
            clip: on the device of the network, but for ``moment_valid``.
            uncertain: see `perception.detector_loss.detector_loss`.
            dropped: (B, T) bool; moments that do not get the state of the one before.
        """
        valid = clip["moment_valid"]
        if not valid.any():
            raise RoadloopError(f"no valid moment in clips of {', '.join(drives_of(clip))}")
        before = torch.zeros_like(valid)
        before[:, 1:] = valid[:, :-1]
        if dropped is not None:
            before &= ~dropped
        device = clip["images"].device
        usable = clip["motion_valid"] & before.to(device)
        inputs = {key: clip[key] for key in INPUTS if key in clip}
        half = self.config.precision == "bf16"
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            outputs = self.network.clip(inputs, usable)
        frames = {key: clip[key].flatten(0, 1) for key in TARGETS if key in clip}
        judged = {key: value.float() for key, value in outputs.items()}
        last = {key: v.unflatten(0, valid.shape)[:, -1] for key, v in judged.items()}
        if not valid.all():
            rows = valid.flatten().to(device)
            judged, frames = ({k: v[rows] for k, v in d.items()} for d in (judged, frames))
        return detector_loss(judged, frames, self.config.loss, uncertain), last


def moment(clip: Clip, t: int) -> dict[str, Tensor]:
    """The frame (B, ...) of moment ``t`` of a clip (B, T, ...)."""
    return {key: clip[key][:, t] for key in (*INPUTS, *TARGETS) if key in clip}


def placed(clip: Clip, device: str) -> Clip:
    """A clip with what the network and the loss need on a device."""
    return {
        key: value.to(device, non_blocking=True) if key in INPUTS or key in TARGETS else value
        for key, value in clip.items()
    }


def drives_of(clip: Clip) -> list[str]:
    """The drives a batch of clips is from, each once."""
    return list(dict.fromkeys(clip.get("drive", ["unknown drives"])))
