"""The documents tell the truth: their commands parse, their names exist, their links lead on."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from roadloop.cli import VERBS, Drive, Map, main
from roadloop.command_line import parse
from roadloop.config import find_config, load_config

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(?:console|bash|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
CHEAP = ("list", "doctor", "version", "--version", "--help")
PATH = re.compile(
    r"`((?:roadloop|perception|planning|sim|training|deploy|tests|configs|docs|benchmarks)"
    r"/[\w./-]*)`"
)


def commands(program: str) -> list[str]:
    """Distinct command lines of ``program`` in the fenced blocks of all pages."""
    found: dict[str, None] = {}
    for page in PAGES:
        for block in FENCE.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.removeprefix("$ ").strip().removeprefix(".venv/bin/")
                if line.split(" ")[0] == program:
                    found[line] = None
    return list(found)


def words_of(line: str) -> list[str]:
    return shlex.split(line, comments=True)[1:]


@pytest.mark.parametrize("line", commands("roadloop"))
def test_every_roadloop_command_is_understood(line: str) -> None:
    from deploy.drivers import DRIVERS
    from roadloop.maps.generate import GENERATORS
    from sim.scenarios import FAMILIES

    words = words_of(line)
    if not words or words[0] in ("--version", "--help"):
        return
    if "--help" in words:
        assert words[0] in VERBS
        return
    verb = parse(VERBS[words[0]], words[0], words[1:])
    if isinstance(verb, Drive):
        if verb.config and not verb.config.endswith(".yaml"):
            verb = parse(Drive, "drive", words[1:], load_config(Drive, find_config(verb.config)))
        assert verb.scenario in FAMILIES and verb.driver in DRIVERS
    if isinstance(verb, Map) and verb.file.startswith("generate:"):
        assert verb.file.removeprefix("generate:") in GENERATORS


@pytest.mark.parametrize("line", [c for c in commands("roadloop") if words_of(c)[0] in CHEAP])
def test_cheap_commands_run(
    line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word for word in words_of(line) if word != "--cuda"]
    assert main(words) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("line", commands("make"))
def test_every_make_target_exists(line: str) -> None:
    run = subprocess.run(
        ["make", "--dry-run", *words_of(line)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("verb", [v for v in VERBS.values() if "Example:" in (v.__doc__ or "")])
def test_examples_in_help_pages_are_understood(verb: type) -> None:
    line = (verb.__doc__ or "").partition("Example:")[2].splitlines()[0].strip()
    words = words_of(line)
    assert isinstance(parse(VERBS[words[0]], words[0], words[1:]), verb)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_import_what_exists(page: Path) -> None:
    for block in PYTHON.findall(page.read_text(encoding="utf-8")):
        for node in ast.parse(block).body:
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_and_links_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in PATH.findall(text):
        assert (ROOT / path).exists(), f"{page.name} names {path}"
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_two_commands_stand_in_the_readme() -> None:
    assert {"make drive", "make test"} <= set(commands("make"))
