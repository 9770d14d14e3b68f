"""Private names of other packages. No other module imports any.

There is one module per package, so that importing from scipy does not import scikit-learn.
"""
