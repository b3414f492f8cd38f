"""The detector's network: pictures, sweeps and a memory in; objects, map, lights and a memory out.

::

    network = DetectorNetwork(DetectorConfig())
    outputs = network(frame)  # tensors of perception.frame, (B, ...)
    outputs = network(next_frame, outputs["state"], next_frame["motion_valid"])

One class, two sizes; what differs is the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from perception.backbone import PictureFeatures, conv
from perception.bev import Memory, Trunk
from perception.detector_config import DetectorConfig, ObjectClass, light_rows
from perception.image_labels import ImageLabelHead
from perception.lift import Lift
from perception.lights import LightHead
from perception.objects import BOX_CHANNELS, VARIANCE_CHANNELS
from perception.point_grid import LIDAR_PLANES, RADAR_PLANES
from perception.raster_map import RasterHead
from roadloop.rig import load_rig


def entering(config: DetectorConfig) -> dict[str, int]:
    """What enters the bird's-eye view, and in how many planes, in their order."""
    planes = {"cameras": config.channels * len(config.heights) + 1}
    if config.lidar:
        planes["lidar"] = len(LIDAR_PLANES) + 1
    if config.radar:
        planes["radar"] = len(RADAR_PLANES) + 1
    return planes | {"where": 2}


def with_sensors(
    weights: Mapping[str, Tensor], had: DetectorConfig, config: DetectorConfig
) -> dict[str, Tensor]:
    """The weights of a detector for one with or without LiDAR and radar.

    What enters anew begins at 0: at first the network sees as it did without it.
    """
    name = "enter.0.weight"
    before, after = entering(had), entering(config)
    if before == after or name not in weights:
        return dict(weights)
    parts = dict(zip(before, weights[name].split(list(before.values()), 1)))
    none = weights[name].new_zeros(len(weights[name]), 0, 1, 1)
    joined = []
    for sensor, planes in after.items():
        part = parts.get(sensor, none)
        new = part.new_zeros(len(part), max(planes - part.shape[1], 0), 1, 1)
        joined.append(torch.cat([part, new], 1))
    return {**weights, name: torch.cat(joined, 1)}


class ObjectHead(nn.Module):
    """(B, D, X, Y) -> ``heat``, ``box``, ``box_log_var``; see `perception.objects`."""

    def __init__(self, channels: int, config: DetectorConfig) -> None:
        super().__init__()
        self.sizes = [len(ObjectClass), len(BOX_CHANNELS), len(VARIANCE_CHANNELS)]
        self.shared = conv(channels, channels // 2)
        self.out = nn.Conv2d(channels // 2, sum(self.sizes), 1)
        with torch.no_grad():
            self.out.weight[sum(self.sizes[:2]) :].zero_()
            bias = self.out.bias
            assert bias is not None
            bias.zero_()
            bias[: self.sizes[0]] = -4.6  # most cells are empty: 1 % at the start

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        heat, box, log_var = self.out(self.shared(x)).split(self.sizes, 1)
        return {"heat": heat, "box": box, "box_log_var": log_var}


class DetectorNetwork(nn.Module):
    """See the module. Stages to freeze: ``pictures``, ``trunk``, ``objects``, ``raster`` ...

    Attributes:
        cameras: names of the slots, in the order of ``images``.
        light_rows: which of them the light head looks at.
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.cameras = tuple(camera.name for camera in load_rig(config.rig).cameras)
        self.light_rows = light_rows(config)
        depth = config.bev_channels
        self.pictures = PictureFeatures(config)
        self.lift = Lift(config)
        self.enter = conv(sum(entering(config).values()), depth, kernel=1)
        self.memory = Memory(depth, config.grid) if config.temporal else None
        self.trunk = Trunk(config)
        self.objects = ObjectHead(depth, config)
        self.raster = RasterHead(depth, config)
        self.lights = LightHead(config.channels, config) if config.light_cameras else None
        self.labels = ImageLabelHead(config.channels, config)
        self.where: Tensor
        centres = torch.from_numpy(config.grid.centres()).float().permute(2, 0, 1)
        self.register_buffer("where", centres[None] / 25.0, persistent=False)

    def forward(
        self,
        frame: Mapping[str, Tensor],
        state: Tensor | None = None,
        state_valid: Tensor | None = None,
        auxiliary: bool = False,
    ) -> dict[str, Tensor]:
        """One moment.

        Args:
            frame: the inputs of `perception.frame` with one leading axis B.
            state: (B, D, X, Y), ``state`` of the outputs ``motion`` ago; None: there is none.
            state_valid: (B,) bool; by default the frame's ``motion_valid``.
            auxiliary: also ``depth`` and ``semantic``, for training.
        """
        x, maps, normal = self._see(frame)
        outputs: dict[str, Tensor] = {}
        if self.memory is not None:
            if state is None:
                state, state_valid = torch.zeros_like(x), x.new_zeros(len(x))
            elif state_valid is None:
                state_valid = frame["motion_valid"]
            x, outputs["state"] = self.memory(x, state, frame["motion"], state_valid)
            x = self.memory.finish(x)
        return outputs | self._say(x, maps, normal, auxiliary)

    def clip(
        self, frames: Mapping[str, Tensor], usable: Tensor, detach: int = 2
    ) -> dict[str, Tensor]:
        """Moments of clips, as `forward` moment after moment but quicker, for training.

        Only the memory goes through time; all else sees the moments of all clips at once, which
        also makes the statistics of normalisations those of more scenes.

        Args:
            frames: the inputs of `perception.frame`, (B, T, ...).
            usable: (B, T) bool, whether a moment gets the state of the one before.
            detach: moments over which gradients flow back through the state.

        Returns:
            The outputs, auxiliary ones too, of all moments (B * T, ...); no state.
        """
        moments = usable.shape[1]
        x, maps, normal = self._see({k: v.flatten(0, 1) for k, v in frames.items()})
        if self.memory is not None:
            now = x.unflatten(0, (-1, moments))
            state, seen = torch.zeros_like(now[:, 0]), []
            for t in range(moments):
                after, state = self.memory(now[:, t], state, frames["motion"][:, t], usable[:, t])
                seen.append(after)
                if t % detach == detach - 1:
                    state = state.detach()
            x = torch.stack(seen, 1).flatten(0, 1)
            x = self.memory.finish(x)
        return self._say(x, maps, normal, auxiliary=True)

    def _see(self, frame: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """This moment's map (B, D, X, Y), the features (B, N, C, h, w), the pictures normalised."""
        images = frame["images"]
        batch, cameras = images.shape[:2]
        features, normal = self.pictures(images.flatten(0, 1))
        maps = features.view(batch, cameras, *features.shape[1:])
        planes = [self.lift(maps, frame["pixel_from_ego"], frame["camera_valid"])]
        for name in ("lidar", "radar"):
            if getattr(self.config, name):
                there = frame[f"{name}_valid"].to(maps.dtype).view(-1, 1, 1, 1)
                values = frame[name].to(maps.dtype) * there
                planes += [values, there.expand(-1, 1, *values.shape[-2:])]
        planes.append(self.where.to(maps.dtype).expand(batch, -1, -1, -1))
        return self.enter(torch.cat(planes, 1)), maps, normal

    def _say(self, x: Tensor, maps: Tensor, normal: Tensor, auxiliary: bool) -> dict[str, Tensor]:
        """The heads' outputs."""
        batch, cameras = maps.shape[:2]
        x = self.trunk(x)
        outputs = self.objects(x) | self.raster(x)
        if self.lights is not None:
            rows = self.light_rows
            seen = normal.view(batch, cameras, *normal.shape[1:])[:, rows].flatten(0, 1)
            found = self.lights(maps[:, rows].flatten(0, 1), seen)
            outputs |= {k: v.view(batch, len(rows), *v.shape[1:]) for k, v in found.items()}
        if auxiliary:
            found = self.labels(maps.flatten(0, 1))
            outputs |= {k: v.view(batch, cameras, *v.shape[1:]) for k, v in found.items()}
        return outputs
