"""A drive as a recording (.rrd) for the viewer of https://rerun.io.

    with RerunWriter("drive.rrd", subject_of_scenario(scenario, "rule", rig)) as writer:
        drive_scenario(scenario, driver, world, writer=writer)

Entities: ``world`` (map/, route, trail, plan, agents, lights, gnss/), ``world/ego`` with all that
moves along (box, an entity per camera with its pictures below it, lidar/, radar/, mounts/),
``numbers`` and ``imu`` for plots, ``events`` for text. Timelines: ``step``, and ``time`` since the
start; what a sensor gave has the time of its measurement and the step of its arrival. Positions are
32-bit floats, as rerun has them.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from roadloop.camera import Pinhole
from roadloop.config import unknown
from roadloop.errors import RoadloopError
from roadloop.logs.sensor_files import image_bytes
from roadloop.readings import CameraImage, GnssFix, ImuSamples, LidarSweep, RadarScan
from roadloop.semantics import COLOURS, SemanticClass
from roadloop.types import Control, LightState, Observation, Trajectory
from roadloop.viz.map_lines import light_lines, map_lines
from roadloop.viz.palette import DARK, LAMP, rgb
from roadloop.viz.sensor_marks import (
    POINT_COLOURS,
    lens_matrix,
    point_colours,
    radar_arrows,
    radar_colours,
    seen_boxes,
)
from roadloop.viz.stream import (
    AgentBoxes,
    StepView,
    Stream,
    ego_box,
    quaternions,
    score_events,
)
from roadloop.viz.subject import Subject
from roadloop.viz.whole_file import WholeFile, viewer_package

if TYPE_CHECKING:
    from roadloop.scoring.result import Score

Array = np.ndarray

CHUNK = 1 << 20
"""bytes of one entity that are written together"""
CM = 100.0
"""units per m of the depth PNG that ``roadloop.logs.sensor_files`` writes"""
STEPS = 50
"""that are written together at most: a viewer shows them while the rest is being loaded"""
LONG = 1e6
"""s of wall clock after which rerun would write a chunk that is not full: never"""


class RerunWriter:
    """Writes the steps of a drive; use it as a context manager.

    The file appears when the block is left, with what was driven until then also after Ctrl-C;
    another exception leaves no file.

    Args:
        path: ends in .rrd; a file of this name is replaced.
        colour_points: by what LiDAR points are coloured: height, intensity or semantic.

    Raises:
        RoadloopError: no rerun-sdk; a path that cannot be written; an unknown colour.
    """

    def __init__(
        self, path: str | Path, subject: Subject, *, colour_points: str = "height"
    ) -> None:
        self._rr = viewer_package("rerun", "rerun-sdk")
        if colour_points not in POINT_COLOURS:
            raise RoadloopError(unknown("colour of points", colour_points, POINT_COLOURS))
        self._colour_points = colour_points
        self._subject = subject
        self._stream = Stream(subject)
        self._lights = None if subject.road_map is None else light_lines(subject.road_map)
        self._lenses: dict[str, Pinhole] = {}
        self._samples: dict[str, list[tuple[Array, ImuSamples]]] = {}
        self._steps = 0
        self._file = WholeFile(path, ".rrd")
        # Chunks are cut by size, never by the clock, and no time of writing is kept: what the
        # recording holds, and how it is divided, depends on the drive alone.
        self._rec: Any = self._rr.RecordingStream(
            "roadloop",
            recording_id=subject.identity,
            send_properties=False,
            batcher_config=self._rr.ChunkBatcherConfig(flush_tick=LONG, flush_num_bytes=CHUNK),
        )
        self._rr.set_log_time_enabled(False, recording=self._rec)
        self._rr.set_log_tick_enabled(False, recording=self._rec)
        self._rec.save(self._file.hidden)
        self._log_subject()

    def __enter__(self) -> RerunWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.close()
        elif self._rec is not None:
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
        if self._rec is None:
            raise RoadloopError(f"{self._file.path}: the file is closed; no step can be added")
        view = self._stream.view(
            observation,
            control,
            plan,
            world_from_ego=world_from_ego,
            world_from_agent=world_from_agent,
        )
        if self._steps == 0:
            self._log_first(observation)
        self._log_step(view)
        for name, image in view.cameras.items():
            self._log_image(view.step, name, image)
        for name, sweep in view.lidars.items():
            self._log_sweep(view.step, name, sweep)
        for name, scan in view.radars.items():
            self._log_scan(view.step, name, scan)
        for name, fix in view.gnss.items():
            self._log_fix(view.step, name, fix)
        for name, samples in view.imus.items():
            kept = self._samples.setdefault(name, [])
            kept.append((np.full(len(samples.timestamp_us), view.step), samples))
        self._steps += 1
        if self._steps % STEPS == 0:
            self._flush()

    def add_score(self, score: Score) -> None:
        """Add when terms of the score were lost, as text."""
        for event in score_events(score):
            self._rec.reset_time()
            self._rec.set_time("time", duration=event.time_us * 1e-6)
            level = "WARN" if event.bad else "INFO"
            self._rec.log("events", self._rr.TextLog(event.text, level=level))

    def close(self) -> None:
        """Complete the file and put it in its place."""
        if self._rec is not None:
            self._end()
            self._file.keep()

    def _end(self) -> None:
        self._flush()
        with self._rec:  # leaving the block writes what is buffered, and the file's index
            pass
        self._rec = None

    def _flush(self) -> None:
        for name in list(self._samples):
            self._log_samples(name)
        self._rec.flush()

    def _at(self, step: int, time_us: int) -> None:
        self._rec.set_time("step", sequence=step)
        self._rec.set_time("time", duration=np.timedelta64(time_us, "us"))

    def _log_subject(self) -> None:
        rr, log, subject = self._rr, self._rec.log, self._subject
        self._rec.send_recording_name(subject.title)
        log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        text = "\n".join(f"- {key}: {value}" for key, value in subject.facts.items())
        document = rr.TextDocument(text, media_type=rr.MediaType.MARKDOWN)
        log("drive", document, static=True)
        if subject.road_map is not None:
            for name, lines in map_lines(subject.road_map).items():
                strips = rr.LineStrips3D(lines.strips, colors=lines.colour, radii=lines.width / 2.0)
                log(f"world/map/{name}", strips, static=True)
        if subject.path is not None:
            route = rr.LineStrips3D([subject.path.xyz], colors=rgb(DARK["ego"]), radii=0.06)
            log("world/route", route, static=True)

    def _log_first(self, observation: Observation) -> None:
        """What the first step says once for all."""
        rr = self._rr
        centre, size = ego_box(observation.ego)
        box = rr.Boxes3D(centers=[centre], sizes=[size], colors=rgb(DARK["ego"]))
        self._rec.log("world/ego/box", box, static=True)
        names = [] if self._subject.rig is None else [c.name for c in self._subject.rig.cameras]
        self._rec.send_blueprint(self._blueprint(names or list(observation.cameras)))

    def _blueprint(self, cameras: list[str]) -> Any:
        """How the viewer shows it at first: space beside pictures, plots below."""
        import rerun.blueprint as rrb

        # in space a picture hangs before its camera: one of them, not one over the other
        hidden = [
            f"{name}/{kind}" for name in cameras for kind in ("depth", "semantic", "instance")
        ]
        space = rrb.Spatial3DView(
            origin="world/ego",
            contents=["/world/**", *(f"- /world/ego/{at}" for at in hidden)],
            name="world",
            background=rgb(DARK["ground"]),
            line_grid=False,
            eye_controls=rrb.EyeControls3D(
                position=(-14.0, 0.0, 9.0), look_target=(8.0, 0.0, 0.0), eye_up=(0.0, 0.0, 1.0)
            ),
        )
        pictures = [
            rrb.Spatial2DView(
                origin=f"world/ego/{name}",
                contents=["$origin/rgb", "$origin/boxes"],
                name=name,
            )
            for name in cameras
        ]
        plots = [
            rrb.TimeSeriesView(
                origin="numbers", contents=[f"$origin/{name}" for name in shown], name=title
            )
            for title, shown in _PLOTS.items()
        ]
        upper = space
        if pictures:
            grid = rrb.Grid(contents=pictures, grid_columns=1 if len(pictures) < 4 else 2)
            upper = rrb.Horizontal(space, grid, column_shares=[3, 2])
        lower = rrb.Horizontal(*plots, rrb.TextLogView(origin="events", name="events"))
        return rrb.Blueprint(
            rrb.Vertical(upper, lower, row_shares=[3, 1]),
            rrb.TimePanel(state="collapsed", timeline="time"),
            collapse_panels=True,
        )

    def _log_step(self, view: StepView) -> None:
        rr, log = self._rr, self._rec.log
        self._at(view.step, view.time_us)
        log("world/ego", self._transform(view.world_from_ego))
        ego = rgb(DARK["ego"])
        log("world/trail", rr.LineStrips3D([view.trail], colors=ego, radii=0.1))
        plan = view.plan
        segments = np.stack([plan.points[:-1], plan.points[1:]], axis=1)
        log("world/plan", rr.LineStrips3D(segments, colors=plan.colours[1:], radii=0.15))
        for name, value in view.numbers.items():
            log(f"numbers/{name}", rr.Scalars(value))
        if view.mounts is not None:
            for name, pose in view.mounts.items():
                axes = rr.TransformAxes3D(0.3)
                log(f"world/ego/mounts/{name}", self._transform(pose), axes, static=True)
        if view.agents is not None:
            self._log_agents(view.agents)
        if view.lights is not None and self._lights is not None:
            lamps = np.array([rgb(LAMP[state]) for state in LightState], np.uint8)[view.lights]
            lit = self._lights
            points = rr.Points3D(lit.lamps, colors=lamps[lit.lamp_signal], radii=0.35)
            bars = rr.LineStrips3D(lit.bars, colors=lamps[lit.bar_signal], radii=0.2)
            log("world/lights", points)
            log("world/lights/stop_lines", bars)

    def _log_agents(self, agents: AgentBoxes) -> None:
        rr, log = self._rr, self._rec.log
        boxes = rr.Boxes3D(
            centers=agents.world_from_box[:, :3, 3],
            quaternions=quaternions(agents.world_from_box),
            sizes=agents.size,
            colors=agents.colours,
            labels=agents.labels,
            show_labels=False,
        )
        speed = np.linalg.norm(agents.velocity, axis=-1)
        log("world/agents", boxes, rr.AnyValues(id=agents.id, kind=agents.kind, speed=speed))
        rows = agents.moving
        arrows = rr.Arrows3D(
            origins=agents.world_from_box[rows, :3, 3],
            vectors=agents.velocity[rows],
            colors=agents.colours[rows],
            radii=0.06,
        )
        log("world/agents/velocity", arrows)

    def _log_image(self, step: int, name: str, image: CameraImage) -> None:
        rr, log, at = self._rr, self._rec.log, f"world/ego/{name}"
        if self._lenses.get(name) is not image.camera:
            self._lenses[name] = image.camera
            size = (image.camera.width, image.camera.height)
            pinhole = rr.Pinhole(
                image_from_camera=lens_matrix(image.camera),
                resolution=size,
                camera_xyz=rr.ViewCoordinates.RDF,
                image_plane_distance=1.2,
            )
            log(at, self._transform(image.ego_from_camera), pinhole, static=True)
            classes = [
                rr.AnnotationInfo(int(c), c.name.lower(), COLOURS[c].tolist())
                for c in SemanticClass
            ]
            log(f"{at}/semantic", rr.AnnotationContext(classes), static=True)
        self._at(step, image.timestamp_us)
        jpeg = image_bytes("rgb", image.rgb, ".jpg")
        log(f"{at}/rgb", rr.EncodedImage(contents=jpeg, media_type="image/jpeg"))
        if image.depth is not None:
            png = image_bytes("depth", image.depth, ".png")
            depth = rr.EncodedDepthImage(png, media_type="image/png", meter=CM)
            log(f"{at}/depth", depth)
        if image.semantic is not None:
            log(f"{at}/semantic", rr.SegmentationImage(image.semantic))
        if image.instance is not None:
            instance = image.instance.astype(np.int16).view(np.uint16)
            log(f"{at}/instance", rr.SegmentationImage(instance))
        if image.boxes is not None:
            edges, labels, colours = seen_boxes(image.boxes)
            boxes = rr.Boxes2D(
                array=edges,
                array_format=rr.Box2DFormat.XYXY,
                labels=labels,
                show_labels=False,
                colors=colours,
            )
            log(f"{at}/boxes", boxes)

    def _log_sweep(self, step: int, name: str, sweep: LidarSweep) -> None:
        self._at(step, sweep.timestamp_us)
        colours = point_colours(sweep, self._colour_points)
        points = self._rr.Points3D(sweep.points[:, :3], colors=colours, radii=-1.5)
        self._rec.log(f"world/ego/lidar/{name}", points)

    def _log_scan(self, step: int, name: str, scan: RadarScan) -> None:
        rr, log = self._rr, self._rec.log
        self._at(step, scan.timestamp_us)
        colours = radar_colours(scan)
        places = np.stack([scan.x, scan.y, scan.z], axis=-1)
        values = rr.AnyValues(radial_speed=scan.radial_speed, rcs=scan.rcs)
        log(f"world/ego/radar/{name}", rr.Points3D(places, colors=colours, radii=0.2), values)
        origins, vectors, rows = radar_arrows(scan, self._stream.ego_from(name))
        arrows = rr.Arrows3D(origins=origins, vectors=vectors, colors=colours[rows], radii=0.05)
        log(f"world/ego/radar/{name}/speed", arrows)

    def _log_fix(self, step: int, name: str, fix: GnssFix) -> None:
        rr, log = self._rr, self._rec.log
        self._at(step, fix.timestamp_us)
        place = rr.Points3D([(fix.x, fix.y, fix.z)], colors=rgb("#ffd166"), radii=0.25)
        log(f"world/gnss/{name}", place)
        if np.isfinite(fix.latitude):
            log(f"earth/{name}", rr.GeoPoints(lat_lon=[(fix.latitude, fix.longitude)]))

    def _log_samples(self, name: str) -> None:
        """Write the samples of an IMU that were kept, all at once: one by one they are slow."""
        rr, kept = self._rr, self._samples.pop(name)
        times = np.concatenate([samples.timestamp_us for _, samples in kept])
        indexes = [
            rr.TimeColumn("step", sequence=np.concatenate([steps for steps, _ in kept])),
            rr.TimeColumn("time", duration=times.astype("timedelta64[us]")),
        ]
        for key in ("acceleration", "angular_velocity"):
            values = np.concatenate([getattr(samples, key) for _, samples in kept])
            columns = rr.Scalars.columns(scalars=values.ravel()).partition([3] * len(times))
            self._rec.send_columns(f"imu/{name}/{key}", indexes, columns)

    def _transform(self, dst_from_src: Array) -> Any:
        turn = self._rr.Quaternion(xyzw=quaternions(dst_from_src))
        return self._rr.Transform3D(translation=dst_from_src[:3, 3], quaternion=turn)


_PLOTS = {
    "speed, m/s": ("speed_mps",),
    "acceleration, m/s²": ("acceleration_mps2", "asked_acceleration_mps2"),
    "steering, rad": ("steering_rad", "asked_steering_rad"),
    "yaw rate, rad/s": ("yaw_rate_radps",),
}
