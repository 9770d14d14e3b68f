"""Modules import each other only in the order of the table in CONTRIBUTING.rst."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "skrbm"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def module_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def table():
    """Modules in each line of the table, from top to bottom."""
    text = (ROOT / "CONTRIBUTING.rst").read_text()
    lines = re.findall(r"^(``\S+``(?:, ``\S+``)*)  ", text, flags=re.MULTILINE)
    return [re.findall(r"``(\w+)``", line) for line in lines]


LAYER = {module: number for number, modules in enumerate(table()) for module in modules}


def imports(path):
    """Dotted names that a module imports, including imports inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name is from"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_table_has_all_modules():
    assert set(LAYER) == {module_of(path) for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_imports_go_down(path):
    for name in imports(path):
        package, *rest = name.split(".")
        if package == "skrbm" and rest[:1] != [module_of(path)]:
            assert rest, f"{module_of(path)} imports the package"
            assert rest[0] in LAYER, f"{module_of(path)} imports {name}"
            assert LAYER[rest[0]] > LAYER[module_of(path)], (
                f"{module_of(path)} imports {name}"
            )


def test_kinds_of_units_import_each_other_one_way():
    paths = [path for path in (PACKAGE / "_units").iterdir() if path.suffix == ".py"]
    names = {f"skrbm._units.{path.stem}": set(imports(path)) for path in paths}
    graph = {
        name: [other for other in names if any(n.startswith(f"{other}.") for n in used)]
        for name, used in names.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_training_knows_no_scikit_learn(path):
    if LAYER["_training"] <= LAYER[module_of(path)] < LAYER["_compat"]:
        names = [name.replace("skrbm._compat.", "") for name in imports(path)]
        assert not [name for name in names if name.split(".")[0] == "sklearn"]


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_private_names_of_others_are_in_compat_only(path):
    if module_of(path) == "_compat":
        return
    for name in imports(path):
        package, *rest = name.split(".")
        if package != "skrbm":
            assert not [part for part in rest if part.startswith("_")], name
