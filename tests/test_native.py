"""The choice of the compiled core, and what is printed about it."""

import sys

import pytest

import skrbm
from skrbm import _native


def test_unwanted_core(monkeypatch):
    monkeypatch.setenv("SKRBM_COMPILED", "0")
    core, description = _native._choose()
    assert core is None
    assert description == "NumPy only, because SKRBM_COMPILED is 0"


def test_missing_core(monkeypatch):
    monkeypatch.setitem(sys.modules, "skrbm._core", None)
    monkeypatch.setenv("SKRBM_COMPILED", "")
    core, description = _native._choose()
    assert core is None
    assert description.startswith("NumPy only, because there is no core in ")
    monkeypatch.setenv("SKRBM_COMPILED", "1")
    with pytest.raises(ImportError, match="there is no compiled core in"):
        _native._choose()


def test_missing_instruction_set(monkeypatch):
    baseline = pytest.importorskip("skrbm._core", reason="the core is not built")
    for level in ("_avx2", "_avx512"):
        monkeypatch.setitem(sys.modules, f"skrbm._core{level}", None)
    monkeypatch.setenv("SKRBM_COMPILED", "1")
    assert _native._choose() == (baseline, "compiled, baseline")


@pytest.mark.parametrize("core", [None, "a core"])
def test_show_versions(core, monkeypatch, capsys):
    monkeypatch.setattr(_native, "core", core)
    skrbm.show_versions()
    output = capsys.readouterr().out
    assert "numpy: " in output
    assert f"version: {skrbm.__version__}\n" in output
    assert f"path: {_native.description}\n" in output
    assert ("threads: None" in output) == (core is None)
