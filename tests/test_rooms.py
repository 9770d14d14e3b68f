"""Modules import each other only in the order of the table in CONTRIBUTING.rst."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "skrbm"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def table():
    """Modules in each row of the table, from top to bottom."""
    text = (ROOT / "CONTRIBUTING.rst").read_text()
    rows = re.findall(r"^(``\S+``(?:, ``\S+``)*)  ", text, flags=re.MULTILINE)
    return [re.findall(r"``(\w+)``", row) for row in rows]


FLOOR = {room: number for number, rooms in enumerate(table()) for room in rooms}


def imports(path):
    """Dotted names that a module imports, including imports inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name is from"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_table_has_all_rooms():
    assert set(FLOOR) == {room_of(path) for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=room_of)
def test_imports_go_down(path):
    for name in imports(path):
        package, *rest = name.split(".")
        if package == "skrbm" and rest[0] in FLOOR and room_of(path) != rest[0]:
            assert FLOOR[rest[0]] > FLOOR[room_of(path)], f"{room_of(path)} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=room_of)
def test_training_knows_no_scikit_learn(path):
    if FLOOR["_training"] <= FLOOR[room_of(path)] < FLOOR["_compat"]:
        names = [name.replace("skrbm._compat.", "") for name in imports(path)]
        assert not [name for name in names if name.split(".")[0] == "sklearn"]


@pytest.mark.parametrize("path", MODULES, ids=room_of)
def test_private_names_of_others_are_in_compat_only(path):
    if room_of(path) == "_compat":
        return
    for name in imports(path):
        package, *rest = name.split(".")
        if package != "skrbm":
            assert not [part for part in rest if part.startswith("_")], name
