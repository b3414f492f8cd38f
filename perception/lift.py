"""From pictures to the bird's-eye view without parameters: every cell looks where it is seen.

At some heights above each cell of the grid a point is projected into every camera and the feature
there is fetched; what several cameras see is averaged; the heights are stacked as channels (Harley
et al., Simple-BEV, ICRA 2023). Three forms of one thing:

* ``sample``: bilinear, the calibration is an input of the network;
* ``gather4``: the same from a table of four neighbours and weights, made once for a calibration;
* ``gather1``: the nearest feature from a table; only for networks that were trained with it.

Training on a CPU multiplies by the table as a sparse matrix: most points are in one picture or
none, and sampling all of them in all pictures takes five times as long.
"""

from __future__ import annotations

from typing import Any

import scipy.sparse
import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from perception.detector_config import DetectorConfig

NEAR = 0.1
"""m, points nearer to the camera's plane are not seen"""


class Lift(nn.Module):
    """Features (B, N, C, h, w) -> (B, C * Z + 1, X, Y); the last channel: share of heights seen."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.form, self.size = config.lift, config.size
        grid, heights = config.grid, config.heights
        centres = torch.from_numpy(grid.centres()).float()  # (X, Y, 2)
        points = torch.ones(len(heights), *grid.shape, 4)
        points[..., :2] = centres
        points[..., 2] = torch.tensor(heights).view(-1, 1, 1)
        self.heights, self.cells = len(heights), grid.shape
        self.points: Tensor
        self.register_buffer("points", points.reshape(-1, 4), persistent=False)

    def forward(self, features: Tensor, pixel_from_ego: Tensor, valid: Tensor) -> Tensor:
        """
        Args:
            features: (B, N, C, h, w) of any stride.
            pixel_from_ego: (B, N, 3, 4).
            valid: (B, N) bool or 0, 1; cameras that count.
        """
        places, seen = self.places(pixel_from_ego, valid)
        if torch.is_grad_enabled() and features.device.type == "cpu":
            return self._multiplied(features, places, seen)
        batch, cameras, channels = features.shape[:3]
        if self.form == "sample":
            flat = features.flatten(0, 1).to(places.dtype)
            found = grid_sample(flat, places.flatten(0, 1)[:, :, None], align_corners=False)
            found = found.to(features.dtype).view(batch, cameras, channels, -1)
        else:
            found = self._gathered(features, *self.table(places, *features.shape[-2:]))
        return self._joined(found, seen)

    def places(self, pixel_from_ego: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Where the points are in each picture, (B, N, P, 2) in [-1, 1], and whether seen
        (B, N, P)."""
        # no matrix product, which autocast rounds to bfloat16: points would be off by pixels
        x, y, z = self.points[:, :3].to(pixel_from_ego.dtype).T
        a, b, c, d = pixel_from_ego[..., None].unbind(3)
        homogeneous = a * x + b * y + c * z + d
        depth = homogeneous[:, :, 2]
        front = depth > NEAR
        uv = homogeneous[:, :, :2] / torch.where(front, depth, torch.ones_like(depth))[:, :, None]
        width, height = self.size
        extent = torch.tensor([width, height], device=uv.device, dtype=uv.dtype).view(1, 1, 2, 1)
        places = (2.0 * uv + 1.0) / extent - 1.0
        inside = places.abs().amax(2) <= 1.0
        seen = front & inside & (valid[:, :, None] > 0)
        places = torch.where(seen[:, :, None], places, torch.full_like(places, -2.0))
        return places.transpose(2, 3), seen

    def table(self, places: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """(..., 4 or 1) indices into a map's cells and weights; cells beyond it weigh 0.

        ``places`` are (..., 2) in [-1, 1].
        """
        x = (places[..., 0] + 1.0) * 0.5 * columns - 0.5
        y = (places[..., 1] + 1.0) * 0.5 * rows - 0.5
        if self.form == "gather1":
            corners = [(x.round(), y.round(), torch.ones_like(x))]
        else:
            left, top = x.floor(), y.floor()
            right, low = x - left, y - top
            corners = [
                (left, top, (1.0 - right) * (1.0 - low)),
                (left + 1.0, top, right * (1.0 - low)),
                (left, top + 1.0, (1.0 - right) * low),
                (left + 1.0, top + 1.0, right * low),
            ]
        indices, weights = [], []
        for column, row, weight in corners:
            inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
            column, row = column.clamp(0, columns - 1), row.clamp(0, rows - 1)
            indices.append((row * columns + column).long())
            weights.append(weight * inside)
        return torch.stack(indices, -1), torch.stack(weights, -1)

    def _multiplied(self, features: Tensor, places: Tensor, seen: Tensor) -> Tensor:
        """As `forward`, by a sparse matrix: rows are the points, columns the maps' cells."""
        batch, cameras, channels, rows, columns = features.shape
        with torch.no_grad():
            count = seen.sum(1)
            row, point, camera = seen.transpose(1, 2).nonzero().T  # sorted by row and point
            index, weight = self.table(places[row, camera, point], rows, columns)
            weight = weight / count[row, point, None]
            index = index + ((row * cameras + camera) * (rows * columns))[:, None]
            start = torch.zeros(batch * count.shape[1] + 1, dtype=torch.int32)
            start[1:] = count.flatten().cumsum(0) * index.shape[1]
            size = (len(start) - 1, batch * cameras * rows * columns)
            matrix = scipy.sparse.csr_matrix(
                (weight.flatten().numpy(), index.int().flatten().numpy(), start.numpy()), size
            )
            share = (count > 0).to(features.dtype).view(batch, self.heights, *self.cells).mean(1)
        flat = features.permute(0, 1, 3, 4, 2).reshape(-1, channels)
        found = _Product.apply(flat.float(), matrix)
        found = found.to(features.dtype).view(batch, self.heights, -1, channels)
        found = found.permute(0, 3, 1, 2)
        return torch.cat([found.reshape(batch, -1, *self.cells), share[:, None]], 1)

    def _gathered(self, features: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        """(B, N, C, P) of a table.

        Cells are fetched whole: an index per channel would be as large as what it fetches.
        """
        batch, cameras, channels, rows, columns = features.shape
        flat = features.permute(0, 1, 3, 4, 2).reshape(-1, channels)
        first = torch.arange(0, len(flat), rows * columns, device=index.device, dtype=torch.int32)
        picked = index.int() + first.view(batch, cameras, 1, 1)
        found = flat.index_select(0, picked.flatten()).view(*index.shape, channels)
        return (found * weight[..., None].to(found.dtype)).sum(3).transpose(2, 3)

    def _joined(self, found: Tensor, seen: Tensor) -> Tensor:
        """The mean over cameras that see a point; heights as channels.

        What is found where a camera sees nothing is 0: its place lies outside the picture.
        """
        count = seen.to(found.dtype).sum(1)
        mean = found.sum(1) * (1.0 / count.clamp(min=1.0))[:, None]
        batch, channels = mean.shape[:2]
        stacked = mean.view(batch, channels * self.heights, *self.cells)
        share = (count > 0).to(found.dtype).view(batch, self.heights, *self.cells).mean(1)
        return torch.cat([stacked, share[:, None]], 1)


class _Product(torch.autograd.Function):
    """A sparse matrix of SciPy times features (cells, C); the matrix does not learn."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, matrix: Any) -> Tensor:  # type: ignore[override]
        ctx.matrix = matrix
        return torch.from_numpy(matrix @ features.detach().numpy())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return torch.from_numpy(ctx.matrix.T @ gradient.numpy()), None
