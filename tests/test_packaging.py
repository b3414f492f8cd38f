"""The house: what the wheel holds, who imports whom, and what loading the vocabulary costs."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

import roadloop

ROOT = Path(__file__).resolve().parents[1]
OURS = {"roadloop", "perception", "planning", "sim", "training", "deploy"}
HEAVY = {"numpy", "scipy", "shapely", "pyarrow", "warp", "cv2", "av", "torch", "PIL", "lxml"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    run = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_holds_exactly_our_packages(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == OURS


def test_the_wheel_ships_run_files_and_the_report_page_but_no_tests(
    wheel: zipfile.ZipFile,
) -> None:
    names = set(wheel.namelist())
    assert {f"roadloop/configs/{file.name}" for file in (ROOT / "configs").glob("*.yaml")} <= names
    page = ROOT / "roadloop" / "viz" / "report"
    assert {f"roadloop/viz/report/{file.name}" for file in page.iterdir()} <= names
    assert not [n for n in names if "test" in Path(n).name or n.endswith((".pyc", ".so"))]


def test_the_wheel_names_itself(wheel: zipfile.ZipFile) -> None:
    folder = f"roadloop-{roadloop.__version__}.dist-info"
    metadata = HeaderParser().parsestr(wheel.read(f"{folder}/METADATA").decode())
    assert metadata["Name"] == "roadloop" and metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Import-Name") or []) == OURS
    assert "roadloop = roadloop.cli:main" in wheel.read(f"{folder}/entry_points.txt").decode()
    assert f"{folder}/licenses/LICENSE" in wheel.namelist()


def test_installed_elsewhere_the_run_files_are_found(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    wheel.extractall(tmp_path)
    code = "from roadloop.config import find_config; print(find_config('drive'))"
    # Isolated from the checkout: -P and -S would also hide the dependencies, so only the path.
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert Path(run.stdout.strip()) == tmp_path / "roadloop" / "configs" / "drive.yaml"


def test_the_import_contract_holds() -> None:
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    "statement",
    [
        "import roadloop",
        "from roadloop import RoadloopError",
        "import roadloop.cli",
        "from roadloop.cli import main; main(['--help'])",
        "from roadloop.cli import main; main(['drive', '--help'])",
        "from roadloop.cli import main; main(['doctor'])",
    ],
)
def test_starting_loads_nothing_heavy(statement: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys\nprint(*sys.modules, file=sys.stderr)"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert not HEAVY & set(run.stderr.split())


def top_level_imports(file: Path) -> set[str]:
    """First parts of what a module imports when it is loaded (not inside functions)."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)
    return found


def test_only_the_simulator_loads_warp_and_nobody_in_the_vocabulary_loads_torch() -> None:
    for package in OURS - {"sim", "training"}:
        for file in (ROOT / package).rglob("*.py"):
            assert "warp" not in top_level_imports(file), f"{file}: import warp inside functions"
            if package == "roadloop":
                assert "torch" not in top_level_imports(file), f"{file}: torch inside functions"


def test_public_names_resolve() -> None:
    for name in roadloop.__all__:
        assert getattr(roadloop, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Drvier'"):
        _ = roadloop.Drvier  # type: ignore[attr-defined]
