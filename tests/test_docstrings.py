"""Public docstrings pass numpydoc validation and public signatures have type hints."""

import contextlib
import importlib
import inspect
import pkgutil
import re
import typing

import pytest
from numpydoc.validate import validate

import skrbm
from skrbm import callbacks, inspection, likelihood, metrics, plotting, sampling

# Optional sections and matters of style.
IGNORED = {
    "ES01",  # no extended summary
    "SA01",  # no See Also
    "SA04",  # no description in See Also
    "EX01",  # no example: the class examples cover its methods
    "GL01",  # the summary starts on the line of the opening quotes
    "GL02",  # closing quotes on their own line
    "RT02",  # the returned value has a name
    "SS06",  # the summary is one line
}

# Hooks of callbacks, which only scikit-learn calls and documents.
HOOKS = {"setup", "on_fit_task_begin", "on_fit_task_end", "teardown"}

MODULES = [skrbm, callbacks, inspection, likelihood, metrics, plotting, sampling]
with contextlib.suppress(ImportError):  # dask is optional
    MODULES.append(importlib.import_module("skrbm.dask"))


def public():
    for module in MODULES:
        for name in module.__all__:
            thing = getattr(module, name)
            yield f"{module.__name__}.{name}"
            for method, function in inspect.getmembers(thing, inspect.isfunction):
                own = function.__module__.startswith("skrbm") or method in vars(thing)
                if inspect.isclass(thing) and own and not method.startswith("_"):
                    yield f"{module.__name__}.{name}.{method}"


@pytest.mark.parametrize(
    "name", [name for name in public() if name.rpartition(".")[2] not in HOOKS]
)
def test_docstring(name):
    errors = [error for error in validate(name)["errors"] if error[0] not in IGNORED]
    assert errors == []


# `set_fit_request` and similar methods are defined by scikit-learn.
OWN = [name for name in public() if not name.endswith("_request")]


@pytest.mark.parametrize("name", OWN)
def test_types(name):
    function = pkgutil.resolve_name(name)
    if inspect.isclass(function):
        function = function.__init__
    hints = typing.get_type_hints(function)
    parameters = [p for p in inspect.signature(function).parameters if p != "self"]
    assert set(hints) == {*parameters, "return"}


@pytest.mark.parametrize(
    "name", [name for name in OWN if inspect.isclass(pkgutil.resolve_name(name))]
)
def test_types_of_attributes(name):
    """They can be resolved at run time, with what the module imports."""
    public_class = pkgutil.resolve_name(name)
    own = inspect.get_annotations(public_class)
    assert own.keys() <= typing.get_type_hints(public_class).keys()


@pytest.mark.parametrize("name", OWN)
def test_signature(name):
    """`help` opens with names of types, not with what they stand for or where they are."""
    signature = inspect.signature(pkgutil.resolve_name(name))
    shown = [str(p) for p in signature.parameters.values()]
    assert max(map(len, shown), default=0) <= 80
    modules = set(re.findall(r"[a-z_]\w*(?=\.)", str(signature)))
    assert modules <= {"np", "os", "sampling", "distributed"}
