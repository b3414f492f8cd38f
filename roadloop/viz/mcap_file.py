"""A drive as an MCAP file (https://mcap.dev) for Foxglove, Lichtblick and other viewers.

    with McapWriter("drive.mcap", subject_of_scenario(scenario, "rule", rig)) as writer:
        drive_scenario(scenario, driver, world, writer=writer)

Messages are Foxglove's schemas in protobuf; numbers to plot (``/state``, ``/imu/NAME``,
``/odometry/NAME``), for which it has none, are JSON with a JSON schema. Frames: ``world``, ``ego``,
``ego/NAME`` of every sensor. ``log_time`` is the time of the measurement since the start of the
drive in ns, ``sequence`` the step it arrived at. The same drive gives the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from roadloop import __version__
from roadloop.errors import RoadloopError
from roadloop.logs.sensor_files import image_bytes
from roadloop.readings import CameraImage, GnssFix, ImuSamples, RadarScan, WheelOdometry
from roadloop.semantics import COLOURS
from roadloop.types import Control, LightState, Observation, Trajectory
from roadloop.viz.map_lines import light_lines, map_lines
from roadloop.viz.palette import DARK, LAMP, rgb
from roadloop.viz.sensor_marks import radar_arrows, radar_colours, seen_boxes
from roadloop.viz.stream import StepView, Stream, ego_box, score_events
from roadloop.viz.subject import Subject
from roadloop.viz.whole_file import WholeFile, viewer_package

if TYPE_CHECKING:
    from roadloop.scoring.result import Score

Array = np.ndarray

PACKAGES = {
    "mcap.writer": "mcap",
    "mcap_protobuf.schema": "mcap-protobuf-support",
    "foxglove_schemas_protobuf": "foxglove-schemas-protobuf",
}


class McapWriter:
    """Writes the steps of a drive; use it as a context manager.

    The file appears when the block is left, with what was driven until then also after Ctrl-C;
    another exception leaves no file.

    Args:
        path: ends in .mcap; a file of this name is replaced.

    Raises:
        RoadloopError: a package is missing; a path that cannot be written.
    """

    def __init__(self, path: str | Path, subject: Subject) -> None:
        for module, package in PACKAGES.items():
            viewer_package(module, package)
        from mcap.writer import Writer

        from roadloop.viz import foxglove_messages

        self._fox = foxglove_messages
        self._subject = subject
        self._stream = Stream(subject)
        self._lights = None if subject.road_map is None else light_lines(subject.road_map)
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._step = 0
        self._last_us = 0
        self._first = True
        self._open = True
        self._file = WholeFile(path, ".mcap")
        self._out = self._file.hidden.open("wb")
        self._writer = Writer(self._out)
        self._writer.start(library=f"roadloop {__version__}")
        self._writer.add_metadata("roadloop", {"title": subject.title, **subject.facts})

    def __enter__(self) -> McapWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.close()
        elif self._open:
            self._end()
            self._file.drop(kind, value, trace)

    def append(
        self,
        observation: Observation,
        control: Control | None = None,
        plan: Trajectory | Array | None = None,
        *,
        world_from_ego: Array | None = None,
        world_from_agent: Array | None = None,
    ) -> None:
        """Add one step; arguments and errors as of ``Stream.view``."""
        if not self._open:
            raise RoadloopError(f"{self._file.path}: the file is closed; no step can be added")
        view = self._stream.view(
            observation,
            control,
            plan,
            world_from_ego=world_from_ego,
            world_from_agent=world_from_agent,
        )
        self._step, self._last_us = view.step, view.time_us
        if self._first:
            self._first = False
            self._add_first(view.time_us, observation)
        self._add_step(view)
        for name, image in view.cameras.items():
            self._add_image(name, image)
        for name, sweep in view.lidars.items():
            cloud = self._fox.sweep_cloud(sweep.timestamp_us, sweep)
            self._add(f"/lidar/{name}", sweep.timestamp_us, cloud)
        for name, scan in view.radars.items():
            self._add_scan(name, scan)
        for name, fix in view.gnss.items():
            self._add_fix(name, fix)
        for name, samples in view.imus.items():
            self._add_samples(name, samples)
        for name, reading in view.odometry.items():
            self._add_odometry(name, reading)

    def add_score(self, score: Score) -> None:
        """Add when terms of the score were lost, as text."""
        for event in score_events(score):
            message = self._fox.log(event.time_us, event.text, bad=event.bad)
            self._add("/events", event.time_us, message)

    def close(self) -> None:
        """Complete the file and put it in its place."""
        if self._open:
            self._end()
            self._file.keep()

    def _end(self) -> None:
        self._open = False
        self._writer.finish()
        self._out.close()

    def _add(self, topic: str, time_us: int, message: Any) -> None:
        """A protobuf message."""
        if topic not in self._channels:
            from mcap_protobuf.schema import register_schema

            name = message.DESCRIPTOR.full_name
            if name not in self._schemas:
                self._schemas[name] = register_schema(self._writer, type(message))
            schema = self._schemas[name]
            self._channels[topic] = self._writer.register_channel(topic, "protobuf", schema)
        self._write(topic, time_us, message.SerializeToString())

    def _add_numbers(self, topic: str, kind: str, time_us: int, numbers: dict[str, float]) -> None:
        """A JSON object of numbers."""
        if topic not in self._channels:
            name = f"roadloop.{kind}"
            if name not in self._schemas:
                properties = {key: {"type": "number"} for key in numbers}
                schema = json.dumps({"type": "object", "title": name, "properties": properties})
                self._schemas[name] = self._writer.register_schema(
                    name, "jsonschema", schema.encode()
                )
            schema = self._schemas[name]
            self._channels[topic] = self._writer.register_channel(topic, "json", schema)
        self._write(topic, time_us, json.dumps(numbers).encode())

    def _write(self, topic: str, time_us: int, data: bytes) -> None:
        ns = time_us * 1000
        self._writer.add_message(self._channels[topic], ns, data, ns, sequence=self._step)

    def _add_first(self, time_us: int, observation: Observation) -> None:
        """What stays as it is: map, route, the ego's box."""
        fox, subject = self._fox, self._subject
        if subject.road_map is not None:
            entities = [
                fox.entity(
                    time_us,
                    "world",
                    name,
                    lines=[fox.lines(group.strips, group.colour, group.width)],
                )
                for name, group in map_lines(subject.road_map).items()
                if group.strips
            ]
            self._add("/map", time_us, fox.scene(time_us, entities))
        if subject.path is not None:
            way = fox.lines([subject.path.xyz], rgb(DARK["ego"]), 0.12)
            self._show("/route", time_us, "world", lines=[way])
        centre, size = ego_box(observation.ego)
        box = fox.cube(fox.pose(centre), size, rgb(DARK["ego"]), 0.8)
        self._show("/ego", time_us, "ego", cubes=[box], frame_locked=True)

    def _add_step(self, view: StepView) -> None:
        fox, now = self._fox, view.time_us
        moved = fox.transform(now, "world", "ego", view.world_from_ego)
        self._add("/transforms", now, fox.transforms([moved]))
        if view.mounts is not None:
            mounts = [
                fox.transform(now, "ego", frame_of(name), pose)
                for name, pose in view.mounts.items()
            ]
            self._add("/mounts", now, fox.transforms(mounts))
        self._add_numbers("/state", "State", now, view.numbers)
        trail = fox.line(view.trail, rgb(DARK["ego"]), 0.2)
        self._show("/trail", now, "world", lines=[trail])
        plan = [fox.line(view.plan.points, view.plan.colours, 0.3)] if len(view.plan.points) else []
        self._show("/plan", now, "world", lines=plan)
        if view.agents is not None:
            self._add("/agents", now, fox.agents(now, view.agents))
        if view.lights is not None and self._lights is not None:
            shown, state = self._lights, view.lights
            lamp = [rgb(LAMP[s]) for s in LightState]
            lamps = [
                fox.sphere(place, 0.7, lamp[state[signal]])
                for place, signal in zip(shown.lamps, shown.lamp_signal)
            ]
            bars = [
                fox.line(bar, lamp[state[signal]], 0.4)
                for bar, signal in zip(shown.bars, shown.bar_signal)
            ]
            self._show("/lights", now, "world", spheres=lamps, lines=bars)

    def _show(self, topic: str, time_us: int, frame: str, **parts: Any) -> None:
        """One entity, called like its topic."""
        fox = self._fox
        shown = fox.entity(time_us, frame, topic.removeprefix("/"), **parts)
        self._add(topic, time_us, fox.scene(time_us, [shown]))

    def _add_image(self, name: str, image: CameraImage) -> None:
        fox, now, frame, topic = self._fox, image.timestamp_us, frame_of(name), f"/camera/{name}"
        jpeg = image_bytes("rgb", image.rgb, ".jpg")
        self._add(f"{topic}/image", now, fox.picture(now, frame, jpeg, "jpeg"))
        self._add(f"{topic}/calibration", now, fox.calibration(now, frame, image.camera))
        if image.depth is not None:
            self._add(f"{topic}/depth", now, fox.values_picture(now, frame, image.depth))
        if image.semantic is not None:
            png = image_bytes("rgb", COLOURS[image.semantic], ".png")
            self._add(f"{topic}/semantic", now, fox.picture(now, frame, png, "png"))
        if image.instance is not None:
            instance = image.instance.astype(np.int16).view(np.uint16)
            self._add(f"{topic}/instance", now, fox.values_picture(now, frame, instance))
        if image.boxes is not None:
            message = fox.rectangles(now, *seen_boxes(image.boxes))
            self._add(f"{topic}/boxes", now, message)

    def _add_scan(self, name: str, scan: RadarScan) -> None:
        fox, now = self._fox, scan.timestamp_us
        self._add(f"/radar/{name}", now, fox.scan_cloud(now, scan))
        colours = radar_colours(scan)
        places, vectors, rows = radar_arrows(scan, self._stream.ego_from(name))
        arrows = [fox.arrow(p, v, c, 0.15) for p, v, c in zip(places, vectors, colours[rows])]
        self._show(f"/radar/{name}/speed", now, "ego", arrows=arrows)

    def _add_fix(self, name: str, fix: GnssFix) -> None:
        fox, now = self._fox, fix.timestamp_us
        self._add(f"/gnss/{name}/place", now, fox.fix_pose(fix))
        if np.isfinite(fix.latitude):
            self._add(f"/gnss/{name}", now, fox.fix(fix, frame_of(name)))

    def _add_samples(self, name: str, samples: ImuSamples) -> None:
        keys = ("ax_mps2", "ay_mps2", "az_mps2", "wx_radps", "wy_radps", "wz_radps")
        values = np.concatenate([samples.acceleration, samples.angular_velocity], axis=1)
        for time_us, row in zip(samples.timestamp_us.tolist(), values.tolist()):
            self._add_numbers(f"/imu/{name}", "Imu", time_us, dict(zip(keys, row)))

    def _add_odometry(self, name: str, reading: WheelOdometry) -> None:
        numbers = {
            "speed_mps": reading.speed,
            "steering_rad": reading.steering,
            "yaw_rate_radps": reading.yaw_rate,
        }
        self._add_numbers(f"/odometry/{name}", "Odometry", reading.timestamp_us, numbers)


def frame_of(sensor: str) -> str:
    """Name of a sensor's frame."""
    return f"ego/{sensor}"
