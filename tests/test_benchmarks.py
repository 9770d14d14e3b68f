"""Figures of the documentation are those of benchmarks/results.json."""

import importlib.util
import json
import re
from datetime import date
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = json.loads((ROOT / "benchmarks" / "results.json").read_text())
PAGE = (ROOT / "docs" / "benchmarks.rst").read_text()
WRITTEN = {"command", "date", "processor", "cores", "threads", "core", "versions", "rows"}


def load(path):
    """Import a module that is not in a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_no_table_of_its_own():
    assert not re.search(
        r"^ *(\.\. (list-|csv-)?table::|=+ +=|\+-)", PAGE, flags=re.MULTILINE
    )


def test_tables_of_the_page_are_in_the_results():
    pattern = r"^ *\.\. benchmark-table:: (\w+)\n(?:   :columns: (.*(?:\n {6}.*)*)\n)?"
    shown = re.findall(pattern, PAGE, flags=re.MULTILINE)
    assert len(shown) == PAGE.count("benchmark-table::")
    assert {name for name, _ in shown} == set(RESULTS)
    for name, columns in shown:
        known = {column for row in RESULTS[name]["rows"] for column in row}
        assert set(filter(None, map(str.strip, columns.split("|")))) <= known


def check_origin(name, table):
    """Check that a table was written by a script, or says that it was not."""
    script, option, only = table["command"].removeprefix("python ").split()[:3]
    assert (ROOT / script).is_file()
    assert (option, only) == ("--only", name)
    assert table["rows"]
    assert all(table[key] for key in ("date", "processor", "cores", "threads", "core"))
    if table.get("carried_over"):
        assert set(table) <= WRITTEN | {"carried_over", "note"}
        assert table["versions"] or "not recorded" in table["note"]
    else:
        assert set(table) == WRITTEN
        date.fromisoformat(table["date"])
        assert set(table["versions"]) >= {"python", "skrbm", "numpy", "scipy"}


@pytest.mark.parametrize("name", RESULTS)
def test_results_say_where_they_are_from(name):
    check_origin(name, RESULTS[name])
    origin = load(ROOT / "docs" / "benchmark_tables.py").origin(RESULTS[name])
    assert RESULTS[name]["command"] in origin
    assert ("carried over" in origin) == ("carried_over" in RESULTS[name])


@pytest.mark.parametrize(
    "name", [name for name, table in RESULTS.items() if "carried_over" in table]
)
def test_a_typed_in_table_does_not_pass_as_written(name):
    table = {key: RESULTS[name][key] for key in WRITTEN}
    with pytest.raises((AssertionError, ValueError)):
        check_origin(name, table)


def test_scripts_replace_only_their_tables(tmp_path, monkeypatch, capsys):
    results = load(ROOT / "benchmarks" / "results.py")
    path = tmp_path / "results.json"
    before = [{"size": "small", "a ratio": 0.1}, {"size": "large", "a ratio": 0.2}]
    tables = {"old": {"rows": [1]}, "fit": {"carried_over": True, "rows": before}}
    path.write_text(json.dumps(tables))
    monkeypatch.setattr("sys.argv", ["/somewhere/bench_fit.py", "--data", "/elsewhere"])
    results.record("fit", size="large", **{"a ratio": 0.5})
    results.record("mnist", size=3)
    results.save(path, ["--quick"], mnist=["--long"])
    saved = json.loads(path.read_text())
    assert saved["old"] == {"rows": [1]}
    assert saved["fit"]["rows"] == [{"size": "large", "a ratio": 0.5}]
    assert saved["fit"]["command"] == "python benchmarks/bench_fit.py --only fit --quick"
    assert saved["mnist"]["command"].endswith("--only mnist --quick --long")
    check_origin("fit", saved["fit"])
    assert "elsewhere" not in path.read_text()
    assert capsys.readouterr().out == f"{path}: fit no longer has the row 'small'\n"


def test_curves_show_the_best_model_so_far(tmp_path):
    picture = load(ROOT / "benchmarks" / "picture.py")
    names = "seconds", "log_likelihood", "reverse"
    fits = [(3.0, -7.0, -9.0), (1.0, -9.0, -8.0), (4.0, -8.0), (2.0, -7.0, -9.5)]
    rows = [dict(zip(names, fit, strict=False)) for fit in fits]
    assert picture.best_so_far(rows) == ([1.0, 4.0], [-9.0, -8.0])
    path = tmp_path / "curves.png"
    picture.draw(RESULTS["anytime"]["rows"], path)
    assert path.read_bytes().startswith(b"\x89PNG")
