"""Keep the tables of the benchmarks as JSON, with the computer and versions behind them.

Option ``--json FILE`` of the scripts replaces the tables that were run in FILE and leaves
the others as they are. The page of benchmarks is made from ``benchmarks/results.json``. Its
tables with the key ``carried_over`` were typed in from printed output, and lose this key
when they are run again.
"""

import json
import os
import platform
import sys
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from threadpoolctl import threadpool_info

import skrbm
from skrbm import _native

PACKAGES = "numpy", "scipy", "scikit-learn", "pandas", "torch", "rbms", "dask"
_rows = {}


def add_option(parser):
    """Add option --json to the parser of a script."""
    parser.add_argument("--json", type=Path, help="file to write the tables into")


def record(table, **row):
    """Add a row to a table: names of columns, and text or numbers."""
    _rows.setdefault(table, []).append(row)


def processor():
    """Return the model of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def blas():
    """Return what is known of the libraries of matrix products in use."""
    return [library for library in threadpool_info() if library["user_api"] == "blas"]


def versions():
    """Return the versions of the installed packages that matter, and kernels of BLAS."""
    found = {"python": platform.python_version(), "skrbm": skrbm.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    for library in blas():
        if "architecture" in library:
            found[f"kernels of {library['internal_api']}"] = library["architecture"]
    return found


def labels(rows):
    """Return what tells the rows of a table apart: their texts."""
    return [", ".join(x for x in row.values() if isinstance(x, str)) for row in rows]


def save(path, options=(), **more):
    """Merge the recorded tables into a file, and print which of its rows this deletes.

    Parameters
    ----------
    path : Path
    options : list of str, default=()
        Options of the script that change its results, such as ``"--quick"``.
    **more : dict of table to list of str
        Options that change a single table.
    """
    kept = json.loads(path.read_text()) if path.exists() else {}
    for table, rows in _rows.items():
        before = labels(kept[table]["rows"]) if table in kept else []
        for lost in sorted(set(before) - set(labels(rows))):
            print(f"{path}: {table} no longer has the row {lost!r}")
        script = f"benchmarks/{Path(sys.argv[0]).name}"
        words = ["python", script, "--only", table, *options, *more.get(table, [])]
        kept[table] = {
            "command": " ".join(words),
            "date": date.today().isoformat(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": max((library["num_threads"] for library in blas()), default=1),
            "core": _native.description,
            "versions": versions(),
            "rows": rows,
        }
    path.write_text(json.dumps(kept, indent=1) + "\n")
