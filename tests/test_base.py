"""Public methods of a fitted model: names in errors."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from conftest import BINARY, make_rbm

from skrbm.likelihood import log_likelihood, log_partition
from skrbm.sampling import diagnose, draw_chains


@pytest.fixture(scope="module")
def rbm():
    return make_rbm().fit(BINARY)


# Names of arguments -------------------------------------------------------------------

CALLS = {
    "transform": ("X", lambda rbm, X: rbm.transform(X)),
    "score": ("X", lambda rbm, X: rbm.score(X)),
    "fit": ("X", lambda rbm, X: make_rbm(warm_start=True).fit(BINARY).fit(X)),
    "log_likelihood": ("X", lambda rbm, X: rbm.log_likelihood(X)),
    "likelihood.log_likelihood": ("X", log_likelihood),
    "gibbs": ("v", lambda rbm, X: rbm.gibbs(X)),
    "sample": ("init", lambda rbm, X: rbm.sample(60, init=X)),
    "draw_chains": ("init", lambda rbm, X: draw_chains(rbm, 60, 1, init=X)),
    "log_partition": (
        "init",
        lambda rbm, X: log_partition(rbm, method="reverse_ais", init=X, random_state=0),
    ),
    "diagnose": ("chains", lambda rbm, X: diagnose(rbm, X[None])),
}


@pytest.mark.parametrize("call", CALLS)
def test_errors_name_the_argument(rbm, call):
    name, function = CALLS[call]
    X = BINARY.astype(float)
    X[3, 5] = np.nan
    with pytest.raises(ValueError, match=f"Input {name} contains NaN. Impute the missing"):
        function(rbm, X)
    X[3, 5] = np.inf
    with pytest.raises(ValueError, match=f"Input {name} contains infinity"):
        function(rbm, X)
    X = np.ma.masked_array(BINARY, BINARY > 0)
    with pytest.raises(TypeError, match=f"^{name} is a masked array"):
        function(rbm, X)
    with pytest.raises(ValueError, match=f"^{name} has 63 features"):
        function(rbm, BINARY[:, 1:])


def test_errors_of_sparse_rows_and_frames_name_the_argument(rbm):
    X = sp.csr_array(BINARY.astype(float))
    X.indices[3] = 64
    with pytest.raises(ValueError, match=r"^v is not a valid sparse array"):
        rbm.gibbs(X)
    with pytest.raises(ValueError, match=r"^v must be a single array or data frame"):
        rbm.gibbs([BINARY, BINARY])
    names = [f"pixel {i}" for i in range(64)]
    gaps = np.where(np.arange(64) == 5, np.nan, BINARY)
    for frame, key in (pd.DataFrame, "columns"), (pl.DataFrame, "schema"):
        fitted = make_rbm().fit(frame(data=BINARY, **{key: names}))
        with pytest.raises(ValueError, match=r"^Input v contains NaN. Impute the missing"):
            fitted.gibbs(frame(data=gaps, **{key: names}))
