"""What is installed, what is missing, and the one line that mends it.

Reads package metadata and looks at folders; imports nothing it checks (Warp only when asked for
the CUDA devices), so that it also runs where something is broken: ``python -m roadloop.doctor``.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

TOP_LEVEL = ("roadloop", "perception", "planning", "sim", "training", "deploy")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_MINIMUM_PYTHON = (3, 10)
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*([^;]*)(?:;(.*))?")


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    ok: bool
    found: str
    """version, path or count; what is wrong where ``ok`` is False"""
    fix: str = ""
    """the one line that mends it"""
    required: bool = True


def examine(*, cuda: bool = False) -> list[Check]:
    """Every check, in the order they are shown; ``cuda`` starts Warp to ask for devices."""
    return [
        *_machine(),
        *_packages(),
        *_top_level_names(),
        _cache(),
        *_browser(),
        *([_cuda()] if cuda else []),
    ]


def healthy(checks: Sequence[Check]) -> bool:
    """True where nothing required is missing."""
    return all(check.ok for check in checks if check.required)


def as_text(checks: Sequence[Check]) -> str:
    """One line per check, and below each problem's line its remedy."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        mark = "ok" if check.ok else "MISSING" if check.required else "absent"
        lines.append(f"{mark:8}{check.name:{width + 2}}{check.found}")
        if not check.ok:
            lines.append(f"{'':8}{'':{width + 2}}fix: {check.fix}")
    problems = sum(not check.ok for check in checks if check.required)
    lines.append("everything required is here" if not problems else f"{problems} to mend")
    return "\n".join(lines)


def as_json(checks: Sequence[Check]) -> str:
    """``{"healthy": bool, "checks": [...]}``."""
    return json.dumps({"healthy": healthy(checks), "checks": [asdict(c) for c in checks]}, indent=2)


def cache_folder() -> Path:
    """Where compiled maps are kept: ``roadloop.maps.cache``, without importing it."""
    if chosen := os.environ.get("ROADLOOP_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roadloop" / "maps"


def _machine() -> list[Check]:
    wanted = ".".join(map(str, _MINIMUM_PYTHON))
    return [
        Check(
            "python",
            sys.version_info >= _MINIMUM_PYTHON,
            platform.python_version(),
            f"rm -rf .venv && make setup PYTHON=/path/to/python{wanted}",
        ),
        Check("platform", True, platform.platform()),
        Check("cores", True, str(os.cpu_count())),
    ]


def _packages() -> list[Check]:
    try:
        version = importlib.metadata.version("roadloop")
        requirements = importlib.metadata.requires("roadloop") or []
    except importlib.metadata.PackageNotFoundError:
        return [Check("roadloop", False, "not installed", "make setup (or: pip install -e .)")]
    checks = [Check("roadloop", True, version)]
    extras: dict[str, list[Check]] = {}
    for line in requirements:  # lines of the form: name>=1.2; extra == "test"
        match = _REQUIREMENT.match(line)
        if match is None or match[1] == "roadloop" or "dev" in (match[3] or ""):
            continue
        check, marker = _package(match[1], match[2].strip()), match[3] or ""
        if extra := re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker):
            extras.setdefault(extra[1], []).append(check)
        else:
            checks.append(check)
    return checks + [_extra(name, parts) for name, parts in extras.items()]


def _package(name: str, bound: str) -> Check:
    fix = f"{sys.executable} -m pip install '{name}{bound}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, "not installed", fix)
    lowest = re.search(r">=\s*([\d.]+)", bound)
    if lowest and _numbers(version) < _numbers(lowest[1]):
        return Check(name, False, f"{version} is too old, needs {bound}", fix)
    return Check(name, True, version)


def _extra(extra: str, parts: Sequence[Check]) -> Check:
    """One line for the packages of an extra, all of which are optional."""
    checkout = Path(__file__).resolve().parents[1]
    what = f"-e '{checkout}[{extra}]'" if (checkout / "pyproject.toml").is_file() else ""
    what = what or f"'roadloop[{extra}]'"
    fix = f"{sys.executable} -m pip install {what}"
    missing = [f"{part.name} {part.found}" for part in parts if not part.ok]
    found = ", ".join(missing) or ", ".join(f"{part.name} {part.found}" for part in parts)
    return Check(f"extra {extra}", not missing, found, fix, required=False)


def _numbers(version: str) -> tuple[int, ...]:
    """``"4.10.0.84"`` -> (4, 10, 0, 84); what follows a letter (rc1, dev0) does not count."""
    release = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, release[0].split("."))) if release else ()


def _top_level_names() -> list[Check]:
    """Our packages have everyday names: another folder or distribution may stand before them."""
    ours = Path(__file__).resolve().parents[1]
    checks = []
    for name in TOP_LEVEL:
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or []) if spec else []
        where = Path(spec.origin) if spec and spec.origin else Path(places[0]) if places else None
        if where is None:
            checks.append(Check(f"import {name}", False, "not found", "make setup"))
        elif not where.resolve().is_relative_to(ours / name):
            fix = f"rename {where}, or take its folder off PYTHONPATH"
            checks.append(Check(f"import {name}", False, f"shadowed by {where}", fix))
        else:
            checks.append(Check(f"import {name}", True, str(where.parent)))
    return checks


def _cache() -> Check:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        fix = "export ROADLOOP_CACHE=/a/folder/you/may/write"
        return Check("cache", False, f"{folder}: {error.strerror}", fix)
    return Check("cache", True, str(folder))


def _browser() -> list[Check]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    fix = "apt-get install chromium"
    return [Check("chromium", found is not None, found or "not found", fix, required=False)]


def _cuda() -> Check:
    fix = "install an NVIDIA driver; without one everything runs on the CPU"
    if importlib.util.find_spec("warp") is None:
        return Check("cuda", False, "needs warp-lang", "make setup", required=False)
    # Warp greets on standard output when it starts; `--json` must stay one object.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        import warp

        names = [f"{device.alias} {device.name}" for device in warp.get_cuda_devices()]
    return Check("cuda", bool(names), ", ".join(names) or "no device", fix, required=False)


if __name__ == "__main__":
    results = examine()
    print(as_text(results))
    sys.exit(0 if healthy(results) else 1)
