"""Configuration of the Sphinx documentation."""

import dataclasses
import os
import pydoc
import re
import sys
from pathlib import Path

# Pages are read by forked processes, in which OpenMP's threads of the parent are missing:
# what needs them, such as scikit-learn's KMeans, would wait forever.
os.environ["OMP_NUM_THREADS"] = "1"

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sklearn.base import BaseEstimator
from sphinx.util.nodes import make_id

import skrbm

sys.path.insert(0, str(Path(__file__).parent))

project = "skrbm"
author = "The skrbm developers"
copyright = "2026, the skrbm developers"
version = release = skrbm.__version__

extensions = [
    "matplotlib.sphinxext.plot_directive",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "benchmark_tables",
]
nitpicky = True  # a reference that leads nowhere is a warning
exclude_patterns = ["_build"]
templates_path = ["_templates"]
autosummary_generate = True
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # the docstrings describe the types
numpydoc_show_class_members = True
numpydoc_class_members_toctree = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Without a network, references are resolved from the files, which list what is used.
intersphinx_mapping = {
    "sklearn": ("https://scikit-learn.org/stable", (None, "sklearn.inv")),
    "joblib": ("https://joblib.readthedocs.io/en/stable", (None, "joblib.inv")),
}
intersphinx_timeout = 5

# Pictures of the pages are drawn by docs/pictures, at each build.
plot_basedir = "pictures"
plot_formats = [("png", 120)]
plot_html_show_formats = False
plot_html_show_source_link = False

html_title = f"skrbm {release}"
html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "header_links_before_dropdown": 7,
    "navbar_persistent": ["search-button"],  # the field would take a line of its own
    "show_prev_next": False,
    "navigation_with_keys": False,
}
html_sidebars = {"index": [], "install": [], "getting_started": []}  # no pages below them
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_math_renderer = "mathml"

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"[\\/]plot_(?!mnist)",  # it needs data; its pictures are static
    "subsection_order": [
        f"../examples/{folder}" for folder in ("features", "density", "sampling", "scale")
    ],
    "within_subsection_order": "FileNameSortKey",
    "default_thumb_file": str(Path(__file__).parent / "_static" / "overview.png"),
    "abort_on_example_error": True,
    "show_memory": False,
    "write_computation_times": False,  # its page loads scripts from other hosts
    "download_all_examples": False,
}


def write_mathml(translator, node):
    """Write a formula as MathML, which browsers show without scripts and fonts."""
    if isinstance(node, nodes.math_block):
        mathml = tex2mathml(node.astext(), as_block=True)
        formula = f'<div class="formula" tabindex="0">{mathml}</div>'  # it may scroll
    else:
        formula = tex2mathml(node.astext())
    translator.body.append(formula)
    raise nodes.SkipNode


def unlink_sklearn(app, what, name, obj, options, lines):
    """Make the references in docstrings inherited from scikit-learn plain text."""
    if (getattr(obj, "__module__", None) or "").startswith("sklearn."):
        role = re.compile(r":[a-z:]+:`[~!]?([^`<]*?)(\s*<[^`]*>)?`")
        lines[:] = role.sub(r"\1", "\n".join(lines)).split("\n")


# Places where a name may be broken: after "_" and ".", and before each word in camel case.
BREAKS = re.compile(
    r"(?<=_)(?=\w)|(?<=\.)(?=[^\W\d])|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})"
)
NAMES = re.compile(r"""(<span class="pre">|<h1>)([^<]+)""")


def allow_breaks(app, pagename, templatename, context, doctree):
    """Let browsers break long names in titles, signatures and lists between their words."""
    for part in ("body", "toc"):
        if part in context:
            context[part] = NAMES.sub(
                lambda found: found[1] + BREAKS.sub("<wbr>", found[2]), context[part]
            )


def register_attributes(app, domain, objtype, content):
    """Give the attributes in the docstring of a class anchors and entries in the index.

    The parameters of estimators and the fields of dataclasses are attributes, too.
    """
    if (domain, objtype) != ("py", "class"):
        return
    signature = content.parent[0]
    name = f"{signature['module']}.{signature['fullname']}"
    cls = pydoc.locate(name)
    fields = {"Attributes"}
    if issubclass(cls, BaseEstimator) or dataclasses.is_dataclass(cls):
        fields.add("Parameters")
    python = app.env.domains.python_domain
    for field in list(content.findall(nodes.field)):
        if field[0].astext() not in fields:
            continue
        for item in list(field.findall(nodes.definition_list_item)):
            if not item[-1].astext():  # a default of a dataclass, listed by numpydoc
                field.parent.remove(field)
                break
            for attribute in item[0][0].astext().split(", "):
                target = f"{name}.{attribute}"
                if target not in python.objects:
                    item[0]["ids"].append(make_id(app.env, content.document, "", target))
                    python.note_object(
                        target, "attribute", item[0]["ids"][-1], location=item[0]
                    )


def setup(app):
    app.add_html_math_renderer("mathml", (write_mathml, None), (write_mathml, None))
    app.connect("autodoc-process-docstring", unlink_sklearn)
    app.connect("html-page-context", allow_breaks)
    app.connect("object-description-transform", register_attributes)
