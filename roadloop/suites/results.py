"""What a suite run leaves behind: a folder of tables that comparison and suite page read.

::

    run.json         what was run: suite and its hash, driver, perception, versions
    cases.jsonl      one line per finished case, appended the moment it ends
    rollouts/CASE/   the log of each case (roadloop.logs.store)
    cases.parquet    one row per case in the suite's order, written when all have ended
    scores.parquet   one row per case, score and term, likewise
    summary.json     means with intervals over the cases, likewise
    index.html       the suite page

All of it is the same bytes for the same run, however often it was interrupted and whoever computed
it on a processor of the same kind. Wall-clock times are kept apart, in ``timings.jsonl``.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from roadloop.errors import RoadloopError
from roadloop.files import replaced

FORMAT = 1
"""of the folder; other formats are refused"""
RUN, CASES = "run.json", "cases.jsonl"
PARTS = (
    RUN, CASES, "cases.parquet", "scores.parquet", "summary.json", "index.html", "timings.jsonl",
    "rollouts", "replays", "failures",
)  # fmt: skip
"""everything a run writes"""


def log_folder(run: Path, case: str) -> Path:
    """Where a run keeps the log of a case."""
    return run / "rollouts" / case


def replay_file(run: Path, case: str) -> Path:
    """Where a run keeps the replay page of a case, if it has made one."""
    return run / "replays" / f"{case}.html"


@dataclass(frozen=True)
class CaseResult:
    """One case of a suite as it ended."""

    case: str
    """unique name within the suite, e.g. "cut_in-3" or "ccrs-vut30-impact25-0" """
    scenario: str
    """name that `roadloop drive` knows"""
    family: str
    """what cases are grouped by"""
    seed: int
    parameters: dict[str, float]
    failed: str
    """empty where it was driven and scored to the end, else one line: why not"""
    replay: str
    """the command that drives this case again"""
    steps: int
    dt: float
    rollout_hash: str
    """roadloop.logs.store.rollout_hash, empty where it failed"""
    scores: tuple[dict[str, Any], ...]
    """``Score.to_json()`` without the series, one per definition; empty where it failed"""


@dataclass(frozen=True, eq=False)
class SuiteResults:
    """A finished (or so far finished) run of a suite."""

    folder: Path
    run: dict[str, Any]
    """run.json: "suite", "description", "suite_hash", "driver", "perception", "settings",
    "latency", "files" (hashes of those named), "versions" (of roadloop and the libraries),
    "cases" (names in the suite's order)"""
    cases: tuple[CaseResult, ...]
    """in the suite's order"""

    @property
    def finished(self) -> tuple[CaseResult, ...]:
        """The cases that did not fail: what every figure stands on."""
        return tuple(case for case in self.cases if not case.failed)


def start_run(folder: Path, run: dict[str, Any]) -> None:
    """Create the folder of a new run and write its ``run.json``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / RUN, json.dumps(run, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise RoadloopError(f"cannot write into {folder}: {error.strerror}") from error


def append_case(folder: Path, result: CaseResult) -> None:
    """Add a case that has just ended; on disk when this returns."""
    line = json.dumps(asdict(result), allow_nan=False) + "\n"
    try:
        with (folder / CASES).open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RoadloopError(f"{folder / CASES} cannot be written: {error.strerror}") from error


def read_run(folder: Path) -> dict[str, Any]:
    """The ``run.json`` of a folder. Raises RoadloopError where there is none, or a damaged one."""
    path = folder / RUN
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RoadloopError(
            f"{folder} holds no suite run (no {RUN}); `roadloop score SUITE --out DIR` writes one"
        ) from None
    except (OSError, ValueError) as error:
        raise RoadloopError(f"{path} cannot be read: {error}") from error
    if run.get("format") != FORMAT:
        raise RoadloopError(
            f"{path} has format {run.get('format')}, this roadloop reads {FORMAT}; run it again"
        )
    return run


def read_results(folder: str | Path) -> SuiteResults:
    """Whatever a run has left so far; a last line that was cut off by a kill is left out.

    Raises RoadloopError for a folder without a run, and for lines that are damaged in the middle.
    """
    folder = Path(folder)
    run = read_run(folder)
    path = folder / CASES
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise RoadloopError(f"{path} cannot be read: {error}") from error
    found: dict[str, CaseResult] = {}
    for number, line in enumerate(lines, 1):
        if number == len(lines) and not line.endswith("\n"):
            break
        try:
            entry = json.loads(line)
            entry["scores"] = tuple(entry["scores"])
            result = CaseResult(**entry)
        except (ValueError, KeyError, TypeError) as error:
            raise RoadloopError(f"{path}:{number}: damaged ({error}); delete that line") from error
        found[result.case] = result
    ordered = [name for name in run["cases"] if name in found]
    return SuiteResults(folder, run, tuple(found[name] for name in ordered))


def mend(folder: Path) -> None:
    """Cut a last line off that a kill left half written, so that more can be appended."""
    path = folder / CASES
    if not path.exists():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        _write(path, data[: data.rfind(b"\n") + 1].decode("utf-8"))


def write_tables(results: SuiteResults) -> None:
    """``cases.jsonl`` in the suite's order and the two Parquet tables, each whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder, cases = results.folder, results.cases
    plain = [asdict(case) for case in cases]
    columns = {
        name: [entry[name] for entry in plain]
        for name in ("case", "scenario", "family", "seed", "failed", "replay", "steps", "dt")
    }
    columns["parameters"] = [json.dumps(entry["parameters"]) for entry in plain]
    columns["rollout_hash"] = [entry["rollout_hash"] for entry in plain]
    rows: list[tuple[Any, ...]] = []
    for case in cases:
        for score in case.scores:
            head = (case.case, case.family, case.seed, score["name"], score["version"])
            rows.append((*head, "", score["value"], None, score["unit"], None, ""))
            for term in score["terms"]:
                verdict = (term["value"], term["passed"], term["unit"], term["lost_at"])
                rows.append((*head, term["name"], *verdict, term["detail"]))
    schema = pa.schema(
        [
            ("case", pa.string()), ("family", pa.string()), ("seed", pa.int64()),
            ("score", pa.string()), ("version", pa.string()), ("term", pa.string()),
            ("value", pa.float64()), ("passed", pa.bool_()), ("unit", pa.string()),
            ("lost_at", pa.float64()), ("detail", pa.string()),
        ]
    )  # fmt: skip
    arrays = [list(column) for column in zip(*rows)] or [[] for _ in schema]
    tables = {
        "cases.parquet": pa.table(columns),
        "scores.parquet": pa.table(
            [pa.array(a, type=f.type) for a, f in zip(arrays, schema)], schema=schema
        ),
    }
    try:
        _write(folder / CASES, "".join(json.dumps(e, allow_nan=False) + "\n" for e in plain))
        for name, table in tables.items():
            with replaced(folder / name) as hidden:
                pq.write_table(table, hidden)
    except OSError as error:
        raise RoadloopError(f"cannot write into {folder}: {error.strerror}") from error


def table_hash(folder: Path) -> str:
    """Hex SHA-256 over the tables of a finished run: equal for equal results."""
    digest = hashlib.sha256()
    for name in (CASES, "cases.parquet", "scores.parquet"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _write(path: Path, text: str) -> None:
    with replaced(path) as hidden:
        hidden.write_text(text, encoding="utf-8")
