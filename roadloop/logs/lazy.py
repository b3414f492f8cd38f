"""Pictures of logs that are read and decoded when they are first looked at."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.readings import CameraImage

Array = np.ndarray


class LoggedImage(CameraImage):
    """A picture of a log; each product is read when it is first looked at, and then kept."""

    encoded: Callable[[], bytes] | None
    """reads the JPEG or PNG the colours came in, None where they were never in one"""

    @classmethod
    def of(
        cls,
        products: dict[str, Callable[[], Array]],
        encoded: Callable[[], bytes] | None = None,
        **others: Any,
    ) -> LoggedImage:
        """A picture whose ``products`` are read by name; ``others`` are its other fields."""
        image = object.__new__(cls)
        image.__dict__.update(others, encoded=encoded, _products=products)
        return image

    def _read(self, product: str) -> Array | None:
        read = self.__dict__["_products"].get(product)
        return None if read is None else read()

    @cached_property
    def rgb(self) -> Array:  # type: ignore[override]
        """See CameraImage; RoadloopError where the log has no colours."""
        rgb = self._read("rgb")
        if rgb is None:
            raise RoadloopError("this camera was recorded without rgb; see products in rig.yaml")
        return rgb

    @cached_property
    def depth(self) -> Array | None:  # type: ignore[override]
        """See CameraImage."""
        return self._read("depth")

    @cached_property
    def semantic(self) -> Array | None:  # type: ignore[override]
        """See CameraImage."""
        return self._read("semantic")

    @cached_property
    def instance(self) -> Array | None:  # type: ignore[override]
        """See CameraImage."""
        return self._read("instance")

    @cached_property
    def flow(self) -> Array | None:  # type: ignore[override]
        """See CameraImage."""
        return self._read("flow")
