"""Arrays that are filled on the host for every picture and read on the device.

They are kept between pictures: making a Warp array of records takes longer than filling it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import warp as wp

Array = np.ndarray


class Records:
    """One such array; ``rows`` gives room to write, ``sent`` what the kernels read.

    Args:
        dtype: a Warp scalar, vector or struct.
    """

    def __init__(self, dtype: Any, device: str) -> None:
        self._dtype = dtype
        self._device = device
        self._host: wp.array | None = None
        self._there: wp.array | None = None
        self._view = np.zeros(0)

    def rows(self, *shape: int) -> Array:
        """A NumPy view of ``shape`` (and a vector's components); holds what was there before."""
        if self._host is None or self._host.shape != shape:
            self._host = wp.zeros(shape, dtype=self._dtype, device="cpu")
            self._view = self._host.numpy()
            self._there = self._host
            if self._device != "cpu":
                self._there = wp.zeros(shape, dtype=self._dtype, device=self._device)
        return self._view

    def sent(self) -> wp.array:
        """The array on the device, as it was last filled."""
        if self._host is None:
            self.rows(1)
        if self._there is not self._host:
            wp.copy(self._there, self._host)
        return self._there
