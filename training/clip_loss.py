"""A detector's loss on clips: moment after moment through the network, which hands its state on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from perception.detector_loss import detector_loss
from perception.frame import INPUTS, TARGETS
from roadloop.errors import RoadloopError
from training.detector_training import DetectorTraining

Clip = Mapping[str, Any]
"""Arrays of `perception.frame` (B, T, ...), ``moment_valid`` (B, T) bool, ``drive`` text."""

DETACH = 2
"""moments over which gradients flow back through the state"""


class ClipLoss(nn.Module):
    """Clips through the network, moment after moment; the mean loss of their valid moments."""

    def __init__(self, network: nn.Module, config: DetectorTraining) -> None:
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
        if dropped is None:
            dropped = torch.zeros_like(valid)
        kind = clip["images"].device.type
        half = self.config.precision == "bf16"
        sums: dict[str, Tensor] = {}
        counted, state, outputs = 0, None, {}
        for t in range(valid.shape[1]):
            frame = moment(clip, t)
            has_state = None
            if t > 0:
                usable = (valid[:, t - 1] & ~dropped[:, t]).to(frame["motion_valid"].device)
                has_state = frame["motion_valid"] & usable
            with torch.autocast(kind, torch.bfloat16, enabled=half):
                outputs = self.network(frame, state, has_state, auxiliary=True)
            state = outputs.get("state")
            if state is not None and t % DETACH == DETACH - 1:
                state = state.detach()
            rows = valid[:, t]
            count = int(rows.sum())
            if count == 0:
                continue
            judged = {k: v.float() for k, v in outputs.items()}
            if count < len(rows):
                judged = {k: v[rows.to(v.device)] for k, v in judged.items()}
                frame = {k: v[rows.to(v.device)] for k, v in frame.items()}
            for name, term in detector_loss(judged, frame, self.config.loss, uncertain).items():
                sums[name] = sums.get(name, 0.0) + count * term
            counted += count
        if not counted:
            raise RoadloopError(f"no valid moment in clips of {', '.join(drives_of(clip))}")
        return {name: value / counted for name, value in sums.items()}, outputs


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
