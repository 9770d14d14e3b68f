"""
==============================================
Real values: filters, imputation and anomalies
==============================================

If your data are measurements or image patches, ``GaussianRBMEstimator`` learns their
density. This example uses it for three tasks: it shows the filters that hidden units learn
from a photograph, fills gaps in a table, and finds anomalies. For the last two, it is
compared with other models.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_sample_image, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.feature_extraction.image import extract_patches_2d
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrbm import GaussianRBMEstimator, RBMImputer
from skrbm.plotting import FiltersDisplay

# %%
# Filters of photographs
# ----------------------
# Hidden units are trained on whitened patches of 8 x 8 gray pixels, each without its mean.
# The picture shows the weights.

photograph = load_sample_image("china.jpg").mean(axis=2)
patches = extract_patches_2d(photograph, (8, 8), max_patches=10_000, random_state=0)
patches = patches.reshape(-1, 64)
patches -= patches.mean(axis=1, keepdims=True)
pca = PCA(60, whiten=True).fit(patches)  # leaves out the mean and the highest frequencies
whitened = (pca.transform(patches) @ pca.components_).astype(np.float32)
rbm = GaussianRBMEstimator(64, covariance_type="diag", n_iter=20, random_state=0)
rbm.fit(whitened)
FiltersDisplay.from_estimator(rbm, n_filters=64)

# %%
# Missing values
# --------------
# A fifth of the values of a table is missing. The errors are in standard deviations of each
# feature.

X = load_wine().data
missing = np.random.default_rng(0).random(X.shape) < 0.2
gappy = np.where(missing, np.nan, X)
scaler = StandardScaler().fit(gappy)
imputers = {
    "mean": SimpleImputer(),
    "nearest neighbors": make_pipeline(StandardScaler(), KNNImputer()),
    "RBM": RBMImputer(GaussianRBMEstimator(16), random_state=0),
}
for name, imputer in imputers.items():
    filled = imputer.fit_transform(gappy)
    if name != "nearest neighbors":  # which are already standardized
        filled = scaler.transform(filled)
    error = np.sqrt(np.mean((filled - scaler.transform(X))[missing] ** 2))
    print(f"{name:20s}{error:.3f}")

# %%
# Anomalies
# ---------
# Each model is fitted to benign tumours only, and has to detect malignant ones. The numbers
# are areas under the ROC curve: 1 is perfect, and 0.5 is chance.

X, y = load_breast_cancer(return_X_y=True)
benign, test_benign = train_test_split(X[y == 1], test_size=0.3, random_state=0)
test = np.concatenate([test_benign, X[y == 0]])
is_malignant = np.repeat([0, 1], [len(test_benign), len(X[y == 0])])
detectors = {
    "RBM": GaussianRBMEstimator(random_state=0),
    "GaussianMixture": make_pipeline(StandardScaler(), GaussianMixture(random_state=0)),
    "PCA": make_pipeline(StandardScaler(), PCA(10)),
    "IsolationForest": IsolationForest(random_state=0),
}
for name, detector in detectors.items():
    scores = detector.fit(benign).score_samples(test)
    print(f"{name:20s}{roc_auc_score(is_malignant, -scores):.3f}")
plt.show()
