"""Typed dataclasses from YAML files: ``load_config``, ``dump_config``, ``find_config``.

A configuration class is a plain dataclass that stands beside the code that uses it. Its defaults
run; a YAML file lays over them, and ``a.b=value`` overrides over that. Numbers are plain SI
numbers: ``seconds: 60``, not ``60 s``. The unit a field expects is the first word of the docstring
below it (``\"\"\"m/s, top speed\"\"\"``) or ``metadata={"unit": "m/s"}``.

Every mistake is a ``RoadloopError`` of one line that names the file and line, or the override.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import inspect
import itertools
import math
import re
import textwrap
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from roadloop.errors import RoadloopError

T = TypeVar("T")

# Units people write: the SI unit meant and the factor to it. Only used to say what to write.
_UNITS = {
    "m": ("m", 1.0),
    "km": ("m", 1e3),
    "cm": ("m", 1e-2),
    "mm": ("m", 1e-3),
    "ft": ("m", 0.3048),
    "s": ("s", 1.0),
    "ms": ("s", 1e-3),
    "min": ("s", 60.0),
    "h": ("s", 3600.0),
    "m/s": ("m/s", 1.0),
    "km/h": ("m/s", 1 / 3.6),
    "kph": ("m/s", 1 / 3.6),
    "mph": ("m/s", 0.44704),
    "m/s^2": ("m/s^2", 1.0),
    "g": ("m/s^2", 9.80665),
    "m/s^3": ("m/s^3", 1.0),
    "1/m": ("1/m", 1.0),
    "rad": ("rad", 1.0),
    "deg": ("rad", math.pi / 180),
    "rad/s": ("rad/s", 1.0),
    "deg/s": ("rad/s", math.pi / 180),
    "Hz": ("Hz", 1.0),
    "kg": ("kg", 1.0),
    "t": ("kg", 1e3),
}
_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\d\s].*?)\s*")


@dataclass(frozen=True)
class _Item:
    """One value as written: text, list or mapping, and where it was written."""

    value: str | list[_Item] | dict[str, _Item] | None
    where: str


def load_config(cls: type[T], path: str | Path | None = None, overrides: Sequence[str] = ()) -> T:
    """An instance of the dataclass ``cls``: its defaults, then the YAML file, then the overrides.

    Overrides are ``"vehicle.length=4.5"``, ``"sizes=[1, 2]"``; values are YAML.

    Raises RoadloopError for an unreadable file, an unknown key, a missing or mistyped value, or a
    value that ``cls`` itself refuses with a ValueError.
    """
    root = _Item({}, cls.__name__) if path is None else _read(Path(path))
    for override in overrides:
        root = _with_override(root, override)
    return _build(root, cls, None, "")


def dump_config(config: Any, leave_out: Sequence[str] = ()) -> str:
    """YAML text of a dataclass instance; ``load_config`` of it gives an equal instance.

    The fields named in ``leave_out`` are not written and so get their defaults.
    """
    import yaml

    values = {key: value for key, value in _plain(config).items() if key not in leave_out}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def config_folder() -> Path:
    """Where the run files that come with roadloop are: in the package or beside it (checkout)."""
    here = Path(__file__).resolve().parent
    for folder in (here / "configs", here.parent / "configs"):
        if folder.is_dir():
            return folder
    raise RoadloopError(f"the run files are missing beside {here}: install roadloop again")


def find_config(name: str) -> Path:
    """The run file called ``name``: a path to a YAML file, or the stem of one roadloop ships."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise RoadloopError(f"{name}: no such file")
        return path
    shipped = {p.stem: p for p in sorted(config_folder().glob("*.yaml"))}
    if name not in shipped:
        raise RoadloopError(unknown("run file", name, shipped) + " (or give the path of a .yaml)")
    return shipped[name]


def unknown(noun: str, name: str, known: Iterable[str]) -> str:
    """``unknown NOUN "NAME"`` with the nearest known name, or all of them where none is near."""
    known = list(known)
    near = difflib.get_close_matches(name.lower(), [k.lower() for k in known], n=1, cutoff=0.5)
    if near:
        hint = next(k for k in known if k.lower() == near[0])
        return f'unknown {noun} "{name}"; did you mean "{hint}"?'
    return f'unknown {noun} "{name}"; known: {", ".join(known) if known else "none"}'


def _read(path: Path) -> _Item:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise RoadloopError(f"{path}: {reason}") from error
    item = _parse(text, str(path))
    if item.value is None:
        return _Item({}, str(path))
    if not isinstance(item.value, dict):
        raise RoadloopError(f'{item.where}: expected lines "key: value" at the top level')
    return item


def _parse(text: str, source: str, *, lines: bool = True) -> _Item:
    import yaml

    def where(node: yaml.Node) -> str:
        return f"{source}:{node.start_mark.line + 1}" if lines else source

    def convert(node: yaml.Node | None) -> _Item:
        if node is None:
            return _Item(None, source)
        if isinstance(node, yaml.ScalarNode):
            missing = node.tag == "tag:yaml.org,2002:null" and node.style is None
            return _Item(None if missing else node.value, where(node))
        if isinstance(node, yaml.SequenceNode):
            return _Item([convert(child) for child in node.value], where(node))
        items: dict[str, _Item] = {}
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise RoadloopError(f"{where(key)}: a key must be a word")
            if key.value in items:
                raise RoadloopError(f'{where(key)}: key "{key.value}" is given twice')
            # The key's line: a mapping's own mark is that of its first line, one further down.
            items[key.value] = dataclasses.replace(convert(child), where=where(key))
        return _Item(items, where(node))

    try:
        return convert(yaml.compose(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark and lines else ""
        raise RoadloopError(f"{source}{line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise RoadloopError(f"{source}: not YAML: {' '.join(str(error).split())}") from error


def _with_override(root: _Item, override: str) -> _Item:
    source = f'override "{override}"'
    key, equals, text = override.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise RoadloopError(f"{source}: expected key=value or key.subkey=value")

    def put(item: _Item, names: list[str], leaf: _Item) -> _Item:
        if not names:
            return leaf
        children = dict(item.value) if isinstance(item.value, dict) else {}
        child = children.get(names[0], _Item({}, source))
        children[names[0]] = put(child, names[1:], leaf)
        return _Item(children, item.where)

    return put(root, names, _parse(text, source, lines=False))


def _build(item: _Item, cls: type[T], base: Any, name: str) -> T:
    """``base`` (or the defaults of ``cls``) with the fields that ``item`` names replaced."""
    if not isinstance(item.value, dict):
        raise _wrong(item, name, f"the keys of {cls.__name__}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, child in item.value.items():
        if key not in fields:
            raise RoadloopError(f"{child.where}: {unknown('key', _join(name, key), fields)}")
        if base is not None:
            default = getattr(base, key)
        elif fields[key].default_factory is not dataclasses.MISSING:
            default = fields[key].default_factory()  # type: ignore[misc]
        else:
            default = fields[key].default
        unit = fields[key].metadata.get("unit") or _documented_units(cls).get(key, "")
        values[key] = _coerce(child, hints[key], default, _join(name, key), unit)
    if base is None:
        for key, f in fields.items():
            required = f.default is f.default_factory is dataclasses.MISSING
            if required and key not in values:
                problem = f"{_join(name, key)} is missing and has no default"
                raise RoadloopError(f"{item.where}: {problem}")
    try:
        return cls(**values) if base is None else dataclasses.replace(base, **values)
    except ValueError as error:
        prefix = f"{name}: " if name else ""
        raise RoadloopError(f"{item.where}: {prefix}{' '.join(str(error).split())}") from error


def _coerce(item: _Item, hint: Any, default: Any, name: str, unit: str) -> Any:
    """The value of ``item`` as type ``hint``; ``default`` is what nested dataclasses start from."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    value = item.value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        members = [a for a in arguments if a is not type(None)]
        for member in members[:-1]:
            try:
                return _coerce(item, member, default, name, unit)
            except RoadloopError:
                continue
        return _coerce(item, members[-1], default, name, unit)
    if dataclasses.is_dataclass(hint):
        base = default if isinstance(default, hint) else None  # type: ignore[arg-type]
        return _build(item, hint, base, name)  # type: ignore[arg-type]
    if origin is Literal:
        for choice in arguments:
            if value == str(choice):
                return choice
        raise RoadloopError(f"{item.where}: {name}: {_not_one_of(value, map(str, arguments))}")
    if origin is tuple and Ellipsis not in arguments:
        if not isinstance(value, list) or len(value) != len(arguments):
            raise _wrong(item, name, f"a list of {len(arguments)} values")
        pairs = enumerate(zip(value, arguments))
        return tuple(_coerce(v, a, None, f"{name}[{i}]", unit) for i, (v, a) in pairs)
    if origin in (list, tuple, Sequence):
        if not isinstance(value, list):
            raise _wrong(item, name, "a list, like [1, 2]")
        made = [_coerce(v, arguments[0], None, f"{name}[{i}]", unit) for i, v in enumerate(value)]
        return made if origin is list else tuple(made)
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(item, name, "keys with values")
        return {k: _coerce(v, arguments[1], None, f"{name}.{k}", unit) for k, v in value.items()}
    return _scalar(item, hint, name, unit)


def _scalar(item: _Item, hint: Any, name: str, unit: str) -> Any:
    value = item.value
    if isinstance(hint, type) and issubclass(hint, Enum):
        names = {member.name.lower(): member for member in hint}
        if isinstance(value, str) and value.lower() in names:
            return names[value.lower()]
        raise RoadloopError(f"{item.where}: {name}: {_not_one_of(value, names)}")
    if hint is str or hint is Path:
        if isinstance(value, str):
            return hint(value)
        raise _wrong(item, name, "a text" if hint is str else "a path")
    if hint is bool:
        if isinstance(value, str) and value.lower() in ("true", "yes", "on"):
            return True
        if isinstance(value, str) and value.lower() in ("false", "no", "off"):
            return False
        raise _wrong(item, name, "true or false")
    if hint is int:
        if isinstance(value, str) and re.fullmatch(r"[-+]?\d[\d_]*", value.strip()):
            return int(value)
        raise _wrong(item, name, "a whole number" + (f" ({unit})" if unit else ""))
    if hint is float:
        return _number(item, name, unit)
    raise TypeError(f"{name}: load_config does not know the type {hint!r}")


def _number(item: _Item, name: str, unit: str) -> float:
    text = item.value
    expected = "a plain number" + (f" in {unit}" if unit else "")
    if not isinstance(text, str):
        raise _wrong(item, name, expected)
    try:
        number = float(text.lower().replace(".inf", "inf"))
    except ValueError:
        number = math.nan
    if not math.isnan(number):
        return number
    quantity = _QUANTITY.fullmatch(text)
    if quantity is None:
        raise _wrong(item, name, expected)
    written = quantity[2]
    if written not in _UNITS:
        problem = f'unknown unit "{written}" in "{text}"; write {expected}'
    elif unit and _UNITS[written][0] != unit:
        problem = f'"{text}" cannot be given in {unit}; write {expected}'
    else:
        si_unit, factor = _UNITS[written]
        number = f"{float(quantity[1]) * factor:.6g}"
        problem = f'units are not written; write {number} ({si_unit}) instead of "{text}"'
    raise RoadloopError(f"{item.where}: {name}: {problem}")


def _not_one_of(value: Any, choices: Iterable[str]) -> str:
    choices = list(choices)
    if isinstance(value, str):
        return f"{unknown('choice', value, choices)}"
    return f"expected one of {', '.join(choices)}"


def _wrong(item: _Item, name: str, expected: str) -> RoadloopError:
    value = item.value
    if isinstance(value, str):
        got = f'"{value}"'
    else:
        got = {dict: "keys with values", list: "a list", type(None): "nothing"}[type(value)]
    subject = f"{name}: " if name else ""
    return RoadloopError(f"{item.where}: {subject}expected {expected}, got {got}")


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


@functools.cache
def _documented_units(cls: type) -> dict[str, str]:
    """Field name -> unit, where the docstring below the field starts with a unit."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):  # made at run time, no source to read
        return {}
    units = {}
    body = tree.body[0].body  # type: ignore[attr-defined]
    for statement, below in itertools.pairwise(body):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            word = re.match(r"[^\s,;:]+", below.value.value.strip())
            if word and word[0] in _UNITS:
                units[statement.target.id] = word[0]
    return units
