"""The arrays a detector eats and learns from: one moment is a ``Frame``, a dict of dense arrays.

N cameras, L light cameras, H x W px, X x Y cells of the grid, K object classes, R raster layers.
Ego frame: that of the moment (x forward, y left, z up, rear axle on the ground). float32 unless
said otherwise. In a batch all have two leading axes (B, T): clips of T moments, oldest first.

================== =================== =========================================================
inputs             shape               meaning
================== =================== =========================================================
images             (N, 3, H, W) uint8  RGB of the virtual cameras, in the order of the rig
camera_valid       (N,) bool           False: no picture, or one not to be trusted (black, frozen)
pixel_from_ego     (N, 3, 4)           u, v, 1 times depth from x, y, z, 1; pixels as in
                                       ``roadloop.camera`` (centre of the first pixel is 0, 0)
lidar              (Cl, X, Y)          ``perception.point_grid``, where the detector has LiDAR
lidar_valid        () bool
radar              (Cr, X, Y)          likewise
radar_valid        () bool
motion             (3,)                x, y, yaw of this moment's ego in the frame of the moment
                                       before (of the state): p_before = R(yaw) p_now + (x, y)
motion_valid       () bool             False: there is no moment before
================== =================== =========================================================

================== =================== =========================================================
targets            shape               meaning
================== =================== =========================================================
heat               (K, X, Y)           Gaussians around the centres of visible objects, 1 there
heat_weight        (K, X, Y) uint8     0: not judged (hidden objects, nothing labelled)
box                (11, X, Y)          ``perception.objects.BOX_CHANNELS`` at centres and their
                                       neighbours
box_weight         (X, Y) uint8        1 where ``box`` holds
velocity_weight    (X, Y) uint8        1 where also its velocity does
raster             (R, X, Y) uint8     ``RasterLayer``: 1 there, 0 not
raster_weight      (R, X, Y) uint8     0: not judged (hidden vehicles, no map)
lane               (3, X, Y)           cos and sin of the lane's direction, m left of its
                                       centreline (of the cell's centre)
lane_weight        (X, Y) uint8        1 where there is one lane, or several that agree
light_heat         (L, 1, h, w)        h = H / 8, w = W / 8: heads of relevant traffic lights
light_box          (L, 4, h, w)        offset of the centre in cells (u, v), log of width and height
                                       in px
light_state        (L, h, w) uint8     ``LampState``
light_weight       (L, h, w) uint8     1 where ``light_box`` and ``light_state`` hold, 255 where
                                       ``light_heat`` is not judged
light_valid        (L,) bool           False: this moment's lights are not labelled
depth              (N, h, w) uint8     bin of the depth, 255: not judged
semantic           (N, h, w) uint8     ``SemanticClass``, 255: not judged
================== =================== =========================================================
"""

from __future__ import annotations

from typing import Any

Frame = dict[str, Any]

INPUTS = (
    "images",
    "camera_valid",
    "pixel_from_ego",
    "lidar",
    "lidar_valid",
    "radar",
    "radar_valid",
    "motion",
    "motion_valid",
)
TARGETS = (
    "heat",
    "heat_weight",
    "box",
    "box_weight",
    "velocity_weight",
    "raster",
    "raster_weight",
    "lane",
    "lane_weight",
    "light_heat",
    "light_box",
    "light_state",
    "light_weight",
    "light_valid",
    "depth",
    "semantic",
)
NOT_JUDGED = 255
"""in ``depth``, ``semantic`` and ``light_weight``"""
