"""
=============================
One model on several workers
=============================

If an epoch takes minutes, ``skrbm.dask.DaskRBM`` trains one model on all workers of a Dask
cluster, each on some of the rows. This example shows what that costs in quality: it
compares the course of training with that of a single process.

The cluster runs within this process. To use another one, replace the client by
``Client("tcp://scheduler:8786")``. Small data such as these train faster in one process.
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
# The rows are divided into shards. In each round, every shard takes some steps from the
# common model, which then moves by their mean change. The model depends on the number of
# shards, but not on the workers. With more shards, each takes fewer steps, so that small
# data such as these need more epochs.

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
# Dask arrays are transformed and scored block by block. A lazy result is computed when you
# need it. The fitted estimator needs no Dask.

print(parallel.transform(X))
print(f"mean pseudo-log-likelihood: {parallel.score(X):.2f}, alone {alone.score(rows):.2f}")
FiltersDisplay.from_estimator(parallel.estimator_)
plt.show()

client.close()
