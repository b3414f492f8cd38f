"""Contact shadows: how much of the sky's light reaches the ground under and beside road users."""

from __future__ import annotations

import cv2
import numpy as np

from sim.render.detailed import Contact
from sim.render.frame import Actors

Array = np.ndarray

REACH = 40.0
"""m around the ego"""
CELL = 0.1
"""m"""
SOFT = 0.35
"""m, standard deviation of the shadow's edge"""
DEPTH = 0.8
"""share of the light that is kept away in the middle"""


def contact_shadows(
    actors: Actors, half: Array, origin: Array, wanted: Array
) -> tuple[Array, Array]:
    """The shade around the egos of some worlds.

    Args:
        half: (worlds, actors, 3) m, half of each actor's length, width, height.
        origin: (3,) the scene's origin.
        wanted: (n,) the worlds; a large batch has more than one looks at.

    Returns:
        ``(worlds,)`` Contact records, empty for other worlds, and ``(n, rows, columns)`` float32
        shares of light.
    """
    worlds, n = actors.model.shape
    cells = round(2.0 * REACH / CELL)
    shade = np.ones((len(wanted), cells, cells), np.float32)
    contacts = np.zeros(worlds, Contact.numpy_dtype())
    for row, w in enumerate(wanted):
        ego = actors.world_from_actor[w, 0, :3, 3] - origin
        corner = ego[:2] - REACH
        contacts[w] = (*corner, CELL, ego[2], row)
        mask = np.zeros((cells, cells), np.uint8)
        for k in range(n):
            pose = actors.world_from_actor[w, k]
            at = pose[:3, 3] - origin - ego
            if actors.model[w, k] < 0 or np.abs(at[:2]).max() > REACH + 10.0 or abs(at[2]) > 2.5:
                continue
            ends = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) * half[w, k, :2]
            xy = pose[:2, 3] - origin[:2] - corner + ends @ pose[:2, :2].T
            # sixteenths of a cell, so that a shadow moves smoothly with its owner
            points = np.round((xy / CELL - 0.5) * 16.0).astype(np.int32)
            cv2.fillConvexPoly(mask, points, 255, lineType=cv2.LINE_AA, shift=4)
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), SOFT / CELL)
        shade[row] -= DEPTH / 255.0 * soft
    return contacts, shade
