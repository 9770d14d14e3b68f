"""Training states as dicts of plain arrays, for pickles that outlive the present modules.

A pickle refers to classes by their modules. That of an estimator refers to its own class,
and to NumPy, but to no other class of this package, so that modules may be renamed.
"""

import dataclasses

import numpy as np

from skrbm._gaps import Gaps
from skrbm._model import RBM
from skrbm._rounds import Chains, SharedState
from skrbm._solvers import SOLVERS
from skrbm._step import Counts, Learned, TrainingState

# Raise the number if what `to_plain` returns has changed.
FORMAT = 1
# The fields of `Learned` that are models.
_MODELS = "model", "velocity", "average"


def to_plain(state):
    """Return a training state as a dict of arrays, numbers, strings, lists and dicts."""
    learned = state.learned
    plain = {
        "learned": _fields(learned)
        | {name: _model(getattr(learned, name)) for name in _MODELS},
        "counts": _fields(state.counts),
        "solver": _solver(state.solver),
        "rng": state.rng.bit_generator.state,
        "gaps": None if state.gaps is None else _fields(state.gaps),
    }
    if isinstance(state, SharedState):
        plain["shared"] = {
            "solvers": [_solver(solver) for solver in state.solvers],
            "change": _model(state.change),
            "seed": state.seed,
            "n_rounds": state.n_rounds,
        }
    return plain


def from_plain(plain, kind):
    """Return the training state of such a dict; `kind` is the class of visible units."""
    learned = plain["learned"]
    learned = learned | {name: _model_from(learned[name], kind) for name in _MODELS}
    bits = getattr(np.random, plain["rng"]["bit_generator"])(0)
    bits.state = plain["rng"]
    gaps = plain.get("gaps")  # version 0.1.0 of the first pickles had none
    state = {
        "learned": Learned(**learned),
        "counts": Counts(**plain["counts"]),
        "solver": _solver_from(plain["solver"]),
        "rng": np.random.Generator(bits),
        "gaps": None if gaps is None else Gaps(**gaps),
    }
    if "shared" not in plain:
        return TrainingState(**state)
    shared = dict(plain["shared"])
    shared["solvers"] = [_solver_from(solver) for solver in shared["solvers"]]
    shared["change"] = _model_from(shared["change"], kind)
    return SharedState(**state, **shared)


def _fields(instance):
    """Return the fields of a dataclass as a dict, without copies."""
    return {f.name: getattr(instance, f.name) for f in dataclasses.fields(instance)}


def _model(model):
    if model is None:
        return None
    return {
        "weights": np.ascontiguousarray(model.weights),
        "visible": model.visible.to_plain(),
        "hidden_bias": model.hidden_bias,
    }


def _model_from(plain, kind):
    if plain is None:
        return None
    return RBM(plain["weights"], kind.from_plain(plain["visible"]), plain["hidden_bias"])


def _solver(solver):
    """Return the name of a solver, as in `SOLVERS`, and its attributes."""
    names = [name for name, kind in SOLVERS.items() if kind is type(solver)]
    attributes = dict(vars(solver))
    if isinstance(solver.chains, Chains):
        attributes["chains"] = _fields(solver.chains) | {"dtype": solver.chains.dtype.str}
    return {"name": names[0], "attributes": attributes}


def _solver_from(plain):
    kind = SOLVERS[plain["name"]]
    solver, attributes = kind.__new__(kind), dict(plain["attributes"])
    if isinstance(attributes["chains"], dict):
        chains = attributes["chains"]
        attributes["chains"] = Chains(**chains | {"dtype": np.dtype(chains["dtype"])})
    vars(solver).update(attributes)
    return solver
