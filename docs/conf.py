"""Configuration of the Sphinx documentation."""

import skrbm

project = "skrbm"
author = "The skrbm developers"
copyright = "2026, the skrbm developers"
version = release = skrbm.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_prev_next": False, "navigation_with_keys": False}
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["custom.css"]
exclude_patterns = ["_build"]
autosummary_generate = True
autodoc_typehints = "none"  # the docstrings describe the types
numpydoc_show_class_members = True
numpydoc_class_members_toctree = False
# References to scikit-learn are not resolved, so that the build needs no network.
suppress_warnings = ["ref.ref", "ref.class"]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    # Examples on data that scikit-learn does not include are shown, but not run.
    "filename_pattern": r"plot_(?!mnist)",
    "abort_on_example_error": True,
    "show_memory": False,
    "download_all_examples": False,
}
