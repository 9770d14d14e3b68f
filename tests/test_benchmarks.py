"""Figures of the documentation are those of benchmarks/results.json."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = json.loads((ROOT / "benchmarks" / "results.json").read_text())
PAGE = (ROOT / "docs" / "benchmarks.rst").read_text()


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
    pattern = r"^\.\. benchmark-table:: (\w+)\n(?:   :columns: (.*(?:\n {6}.*)*)\n)?"
    shown = re.findall(pattern, PAGE, flags=re.MULTILINE)
    assert len(shown) == PAGE.count("benchmark-table::")
    assert {name for name, _ in shown} == set(RESULTS)
    for name, columns in shown:
        known = {column for row in RESULTS[name]["rows"] for column in row}
        assert set(filter(None, map(str.strip, columns.split("|")))) <= known


@pytest.mark.parametrize("name", RESULTS)
def test_results_say_where_they_are_from(name):
    table = RESULTS[name]
    assert table["rows"]
    assert all(table[key] for key in ("date", "processor", "cores", "threads", "core"))
    assert table["versions"] or "not recorded" in table["note"]
    script, option, only = table["command"].removeprefix("python ").split()[:3]
    assert (ROOT / script).is_file()
    assert (option, only) == ("--only", name)


def test_scripts_replace_only_their_tables(tmp_path, monkeypatch):
    results = load(ROOT / "benchmarks" / "results.py")
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"old": {"rows": [1]}, "fit": {"rows": [2]}}))
    monkeypatch.setattr("sys.argv", ["/somewhere/bench_fit.py", "--data", "/elsewhere"])
    results.record("fit", size=3, **{"a ratio": 0.5})
    results.save(path, "--quick")
    saved = json.loads(path.read_text())
    assert saved["old"] == {"rows": [1]}
    assert saved["fit"]["rows"] == [{"size": 3, "a ratio": 0.5}]
    assert saved["fit"]["command"] == "python benchmarks/bench_fit.py --only fit --quick"
    assert set(saved["fit"]) == set(RESULTS["fit"])
    assert "elsewhere" not in path.read_text()
