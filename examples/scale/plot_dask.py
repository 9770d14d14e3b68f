"""
=============================
One model on several workers
=============================

``skrbm.dask.DaskRBM`` trains one model by the workers of a Dask cluster, each on some of
the rows. This example compares the course of training with that of a single process. It
runs a cluster within this process; replace the client by ``Client("tcp://scheduler:8786")``
to use another one. Small data such as these train faster in one process.
"""

import dask.array as da
import matplotlib.pyplot as plt
from distributed import Client
from sklearn.base import clone
from sklearn.datasets import load_digits

from skrbm import BernoulliRBMEstimator
from skrbm.dask import DaskRBM
from skrbm.plotting import FiltersDisplay, TrainingDisplay

client = Client(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)
rows = load_digits().data > 7
X = da.from_array(rows, chunks=(450, 64))

# %%
# Training
# --------
# The rows belong to shards. In each round, every shard takes some steps from the common
# model, which then moves by their mean change. The model depends on the number of shards,
# but not on the workers. More shards take fewer steps in a row, and need more epochs on
# data as small as these.

rbm = BernoulliRBMEstimator(n_components=50, n_iter=20, random_state=0)
alone = clone(rbm).fit(rows)
display = TrainingDisplay.from_estimator(alone, name="one process")
for n_shards in (2, 4):
    parallel = DaskRBM(rbm, n_shards=n_shards, client=client).fit(X)
    name = f"{n_shards} shards"
    TrainingDisplay.from_estimator(parallel.estimator_, name=name, ax=display.ax_)
plt.show()

# %%
# The fitted estimator
# --------------------
# Dask arrays are transformed and scored block by block, when the result is needed. The
# fitted estimator needs no Dask.

print(parallel.transform(X))
print(f"mean pseudo-log-likelihood: {parallel.score(X):.2f}, alone {alone.score(rows):.2f}")
FiltersDisplay.from_estimator(parallel.estimator_)
plt.show()

client.close()
