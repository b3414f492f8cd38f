"""Imperfect perception without a network: ground truth with the faults of detectors and trackers.

Every frame: who can be seen (range, field of view, occlusion), who of them is missed (a two-state
Markov chain per road user), what is measured (errors that grow with distance and are correlated in
time, AR(1)), which tracks are born, carried on and dropped, which road users are made up; all of it
handed on late. Magnitudes: `perception.noise_config`.

The random numbers of a road user are a function of the seeds, its id and the step alone: others,
their order and what the ego does cannot change them. Two drivers on one scenario draw the same.
"""

from __future__ import annotations

import dataclasses
from collections import deque

import numpy as np

from perception.false_positives import FalsePositives
from perception.ground_truth import MAX_RANGE, GroundTruth, observed_tracks
from perception.noise_config import NoiseConfig
from perception.occlusion import visible_share
from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.types import AgentKind, AgentStates, EgoState, Observation, Scenario, Tracks, at

Array = np.ndarray

LIFE = 10**9
"""added to a road user's id when its track is born again: a tracker does not know it again"""
SIMILAR = {
    AgentKind.CAR: AgentKind.VAN,
    AgentKind.VAN: AgentKind.CAR,
    AgentKind.TRUCK: AgentKind.BUS,
    AgentKind.BUS: AgentKind.TRUCK,
    AgentKind.MOTORCYCLE: AgentKind.CYCLIST,
    AgentKind.CYCLIST: AgentKind.MOTORCYCLE,
    AgentKind.PEDESTRIAN: AgentKind.CYCLIST,
    AgentKind.STATIC: AgentKind.CAR,
}
"""what each kind is confused with"""
BLOCK = 64
"""steps of noise drawn at once per road user"""
CHANNELS = 9
"""along, across, heading, length, width, height, vx, vy, and the one that decides on a miss"""
_ERRORS, _CONFUSION, _FALSE_POSITIVES = range(3)  # streams of a seed
_EPS = 1e-9  # s: times are multiples of dt up to rounding

# A road user's memory. Its estimate is what was measured at `seen`.
_USER = np.dtype(
    [
        ("id", np.int64),
        ("noise", np.float64, CHANNELS - 1),  # unit normals, correlated in time
        ("drawn", np.float64),  # s, when `noise` and `missed` are from
        ("missed", bool),
        ("hits", np.int64),  # frames in a row
        ("tracked", bool),
        ("life", np.int64),  # tracks born so far
        ("born", np.int64),  # step
        ("shown", np.uint8),  # kind the track carries
        ("seen", np.float64),  # s
        ("position_std", np.float64),
        *[(name, np.float64) for name in ("x", "y", "z", "heading", "vx", "vy")],
        *[(name, np.float64) for name in ("length", "width", "height")],
    ]
)


class NoisyPerception:
    """A `Tracker` between ground truth and planner. ``config`` says what is wrong.

    Tracks are in order of id, false positives last. ``position_std`` is the true standard deviation
    of the position error (root mean square of the two axes), grown while a track is carried on or
    moved to now; ``age`` counts steps from birth to the frame the track is from. A drive starts
    cold: nothing is tracked before `NoiseConfig.birth_hits` frames and the latency have passed.
    """

    def __init__(self, config: NoiseConfig | None = None) -> None:
        self.config = config or NoiseConfig()
        self._range = self.config.max_range or MAX_RANGE
        self._truth = GroundTruth(self._range)
        self._ready = False

    def reset(self, scenario: Scenario) -> None:
        """Forget everything; the errors are those of ``scenario.seed`` and ``config.seed``."""
        self._seeds = (_natural(scenario.seed), self.config.seed)
        self._users = np.zeros(0, _USER)
        self._blocks: dict[int, tuple[int, Array]] = {}
        self._made_up = FalsePositives(self.config, self._range, self._stream(_FALSE_POSITIVES))
        self._history: deque[tuple[float, Tracks]] = deque()
        self._time = -np.inf
        self._ready = True

    def update(self, observation: Observation) -> Tracks:
        """What the planner gets to see, ``(tracks,)``.

        Raises RoadloopError before `reset`, for an observation without tracks or with an id twice,
        and when time runs backwards.
        """
        if not self._ready:
            raise RoadloopError("NoisyPerception has no seed yet: call reset(scenario) first")
        if self.config.perfect:
            return self._truth.update(observation)
        if observation.time < self._time - _EPS:
            raise RoadloopError(
                f"observation of {observation.time:g} s after one of {self._time:g} s: call "
                "reset(scenario) before another drive"
            )
        self._time = observation.time
        states = _by_id(observed_tracks(observation).states)
        rows = self._meet(states)
        distance, bearing = _line_of_sight(observation.ego, states, self.config)
        self._draw(rows, distance, observation)
        seen = self._visible(observation.ego, states, bearing) & ~self._users["missed"][rows]
        self._measure(rows[seen], at(states, seen), distance[seen], bearing[seen], observation)
        self._live(rows[seen], at(states, seen), observation)
        return self._late(self._tracks(observation), observation.time)

    def _stream(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([*self._seeds, *purpose])

    def _meet(self, states: AgentStates) -> Array:
        """Rows of the memory that ``states`` (in order of id) have; unknown ones get one."""
        new = np.setdiff1d(states.id, self._users["id"])
        if len(new):
            born = np.zeros(len(new), _USER)
            born["id"], born["drawn"] = new, -np.inf
            users = np.concatenate([self._users, born])
            self._users = users[np.argsort(users["id"])]
        return np.searchsorted(self._users["id"], states.id)

    def _draw(self, rows: Array, distance: Array, observation: Observation) -> None:
        """Errors and misses go on to now."""
        config, users = self.config, self._users
        normal = self._normals(users["id"][rows], observation.step)
        elapsed = observation.time - users["drawn"][rows]
        # AR(1) sampled at any times: the correlation is exp(-elapsed / time), the variance stays 1
        slow = _decay(elapsed, config.correlation_time)
        fast = _decay(elapsed, config.velocity_correlation_time)
        kept = np.where(np.arange(CHANNELS - 1) < 6, slow[:, None], fast[:, None])
        fresh = np.sqrt(1.0 - kept**2) * normal[:, :-1]
        users["noise"][rows] = kept * users["noise"][rows] + fresh
        # A two-state chain in continuous time: gaps last `miss_duration` on average and fill the
        # share `miss` of the time, so it forgets with the time constant duration * (1 - miss).
        miss = np.minimum(config.miss_probability + config.miss_probability_per_m * distance, 1.0)
        held = _decay(elapsed, config.miss_duration * (1.0 - miss))
        chance = miss + (users["missed"][rows] - miss) * held
        users["missed"][rows] = _uniform(normal[:, -1]) < chance
        users["drawn"][rows] = observation.time

    def _normals(self, ids: Array, step: int) -> Array:
        """Unit normals of this step, ``(ids, CHANNELS)``: a function of seeds, id and step."""
        block, row = divmod(step, BLOCK)
        out = np.empty((len(ids), CHANNELS))
        for i, user in enumerate(ids.tolist()):
            known = self._blocks.get(user)
            if known is None or known[0] != block:
                stream = self._stream(_ERRORS, _natural(user), block)
                known = self._blocks[user] = block, stream.standard_normal((BLOCK, CHANNELS))
            out[i] = known[1][row]
        return out

    def _visible(self, ego: EgoState, states: AgentStates, bearing: Array) -> Array:
        """``(agents,)`` bool: within range and field of view, and not hidden."""
        config = self.config
        seen = np.hypot(states.x - ego.x, states.y - ego.y) <= self._range
        aside = np.abs(wrap_angle(bearing - ego.heading))
        seen &= aside <= np.pi - config.blind_angle / 2.0
        if config.min_visible > 0.0:
            near = np.flatnonzero(seen)
            x, y = _sensor(ego, config)
            share = visible_share(at(states, near), x, y, float(ego.z) + config.sensor_height)
            seen[near] = share >= config.min_visible
        return seen

    def _measure(
        self,
        rows: Array,
        states: AgentStates,
        distance: Array,
        bearing: Array,
        observation: Observation,
    ) -> None:
        """Estimates of those seen, with their errors."""
        config, users = self.config, self._users
        noise = users["noise"][rows].T
        along_std = config.along_std + config.along_std_per_m * distance
        across_std = config.across_std + config.across_std_per_m * distance
        along, across = noise[0] * along_std, noise[1] * across_std
        c, s = np.cos(bearing), np.sin(bearing)
        walker = (states.kind == AgentKind.PEDESTRIAN) | (states.kind == AgentKind.CYCLIST)
        heading_std = np.where(walker, config.walker_heading_std, config.heading_std)
        velocity_std = config.velocity_std + config.velocity_std_share * states.speed
        users["x"][rows] = states.x + c * along - s * across
        users["y"][rows] = states.y + s * along + c * across
        users["z"][rows] = states.z
        users["heading"][rows] = wrap_angle(states.heading + heading_std * noise[2])
        users["length"][rows] = states.length * np.exp(config.size_std * noise[3])
        users["width"][rows] = states.width * np.exp(config.size_std * noise[4])
        users["height"][rows] = states.height * np.exp(config.size_std * noise[5])
        users["vx"][rows] = states.vx + velocity_std * noise[6]
        users["vy"][rows] = states.vy + velocity_std * noise[7]
        users["position_std"][rows] = np.sqrt((along_std**2 + across_std**2) / 2.0)
        users["seen"][rows] = observation.time

    def _live(self, rows: Array, states: AgentStates, observation: Observation) -> None:
        """Tracks are born after enough hits in a row and dropped after too long without one."""
        config, users = self.config, self._users
        hit = np.zeros(len(users), bool)
        hit[rows] = True
        users["hits"] = np.where(hit, users["hits"] + 1, 0)
        lost = observation.time - users["seen"] > config.coast_time + _EPS
        users["tracked"] &= hit | ~lost
        born = np.flatnonzero(hit & ~users["tracked"] & (users["hits"] >= config.birth_hits))
        users["tracked"][born] = True
        users["born"][born] = observation.step
        users["life"][born] += 1
        users["shown"][born] = states.kind[np.searchsorted(rows, born)]
        if config.confusion_probability > 0.0:
            for row in born.tolist():
                user = users[row]
                stream = self._stream(_CONFUSION, _natural(int(user["id"])), int(user["life"]))
                if stream.random() < config.confusion_probability:
                    user["shown"] = SIMILAR[AgentKind(int(user["shown"]))]

    def _tracks(self, observation: Observation) -> Tracks:
        """The tracks of this frame: measured now, carried on since their last hit, or made up."""
        users = self._users[self._users["tracked"]]
        states = AgentStates(
            id=users["id"] + (users["life"] - 1) * LIFE,
            kind=users["shown"].copy(),
            valid=np.ones(len(users), bool),
            **{
                name: users[name].copy()
                for name in ("x", "y", "z", "heading", "vx", "vy", "length", "width", "height")
            },
        )
        tracks = Tracks(states, users["position_std"].copy(), observation.step - users["born"])
        tracks = self._moved(tracks, observation.time - users["seen"])
        return _joined(tracks, self._made_up.tracks(observation))

    def _moved(self, tracks: Tracks, seconds: Array | float) -> Tracks:
        """The tracks ``seconds`` later at constant velocity, less certain."""
        config, states = self.config, tracks.states
        drift = (config.velocity_std + config.velocity_std_share * states.speed) * seconds
        moved = dataclasses.replace(
            states, x=states.x + states.vx * seconds, y=states.y + states.vy * seconds
        )
        position_std = np.hypot(tracks.position_std, drift)
        return dataclasses.replace(tracks, states=moved, position_std=position_std)

    def _late(self, tracks: Tracks, time: float) -> Tracks:
        """The tracks of the newest frame that is at least `latency` old."""
        config, history = self.config, self._history
        history.append((time, tracks))
        while len(history) > 1 and history[1][0] <= time - config.latency + _EPS:
            history.popleft()
        then, old = history[0]
        if then > time - config.latency + _EPS:
            nobody = np.zeros(0, np.int64)
            return dataclasses.replace(at(old, nobody), states=at(old.states, nobody))
        return self._moved(old, time - then) if config.compensated else old


def _natural(number: int) -> int:
    """A seed of NumPy's: 0 or more."""
    return int(number) & 0xFFFF_FFFF_FFFF_FFFF


def _by_id(states: AgentStates) -> AgentStates:
    """The valid ones in order of id."""
    order = np.argsort(states.id, kind="stable")
    states = at(states, order[states.valid[order]])
    twice = np.flatnonzero(states.id[1:] == states.id[:-1])
    if len(twice):
        raise RoadloopError(
            f"observation.tracks holds the id {states.id[twice[0]]} twice: ids must tell road "
            "users apart"
        )
    return states


def _sensor(ego: EgoState, config: NoiseConfig) -> tuple[float, float]:
    d = config.sensor_forward
    return float(ego.x + d * np.cos(ego.heading)), float(ego.y + d * np.sin(ego.heading))


def _line_of_sight(ego: EgoState, states: AgentStates, config: NoiseConfig) -> tuple[Array, Array]:
    """Distance (m) and direction (rad, world) from the sensor to each box centre, ``(agents,)``."""
    x, y = _sensor(ego, config)
    dx, dy = states.x - x, states.y - y
    return np.hypot(dx, dy), np.arctan2(dy, dx)


def _decay(elapsed: Array, time: Array | float) -> Array:
    """``exp(-elapsed / time)``, 0 where ``time`` is."""
    time = np.broadcast_to(np.asarray(time, dtype=np.float64), np.shape(elapsed))
    safe = np.where(time > 0.0, time, 1.0)
    return np.where(time > 0.0, np.exp(-elapsed / safe), 0.0)


def _uniform(normal: Array) -> Array:
    """Unit normals as uniform numbers in [0, 1]."""
    from scipy.special import ndtr

    return ndtr(normal)


def _joined(first: Tracks, second: Tracks) -> Tracks:
    def join(a: Array, b: Array) -> Array:
        return np.concatenate([a, b]) if len(b) else a

    fields = {
        f.name: join(getattr(first.states, f.name), getattr(second.states, f.name))
        for f in dataclasses.fields(AgentStates)
    }
    return Tracks(
        AgentStates(**fields),
        join(first.position_std, second.position_std),
        join(first.age, second.age),
    )
