"""Check the English of pages and docstrings: python .ci/check_prose.py FILE ...

It reads titles, paragraphs, captions and texts for pictures in .rst files, docstrings, and
the cells of examples, but no code, tables and ``literals``. The rules are in prose.toml.
"""

import ast
import collections
import re
import sys
import tomllib
from pathlib import Path

from docutils import core, nodes
from docutils.parsers.rst import Directive, directives, roles

RULES = tomllib.loads(Path(__file__).with_name("prose.toml").read_text())
SETTINGS = {"report_level": 5, "halt_level": 5, "file_insertion_enabled": False}


class Contents(Directive):
    """Any directive: its text, if it holds one, its caption, and its text for a picture."""

    optional_arguments, final_argument_whitespace, has_content = 1, True, True
    option_spec = collections.defaultdict(lambda: str, alt=str)

    def run(self):
        holds_text = self.name in RULES["directives"]
        texts = [self.options.get("alt"), holds_text and " ".join(self.arguments)]
        found = nodes.container("", *[nodes.paragraph("", text) for text in texts if text])
        found.line = self.lineno
        if holds_text or (self.name in ("plot", "figure") and self.arguments):
            self.state.nested_parse(self.content, self.content_offset, found)
        return [found]


def role(name, rawtext, text, *_, **__):
    text = re.sub(r"\s*<[^<>]*>$", "", nodes.unescape(text))
    return [nodes.Text("X" if name in ("", "math") else text)], []


def blocks(path):
    """Yield the line and the text of what is written in reStructuredText."""
    source = path.read_text()
    if path.suffix == ".rst":
        return (yield 1, source)
    for node in ast.walk(ast.parse(source)):
        known = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if known and (docstring := ast.get_docstring(node)):
            yield node.body[0].lineno, docstring
    for cell in re.finditer(r"^# %%\n((?:#.*\n)+)", source, flags=re.MULTILINE):
        text = re.sub("^# ?", "", cell[1], flags=re.MULTILINE)
        yield source.count("\n", 0, cell.start(1)) + 1, text


def paragraphs(text):
    """Yield the line, the text and whether it is a title of each paragraph."""
    document = core.publish_doctree(text, settings_overrides=SETTINGS)
    for node in document.findall(nodes.TextElement):
        read = isinstance(node, nodes.paragraph | nodes.title)
        if read and not isinstance(node.parent, nodes.entry):
            for quoted in [*node.findall(nodes.literal), *node.findall(nodes.math)]:
                quoted.children = [nodes.Text("X")]
            place = node
            while not place.line and place.parent:
                place = place.parent
            yield place.line or 1, node.astext(), isinstance(node, nodes.title)


def findings(text, is_title):
    """Yield what is to be changed in a paragraph, and its place in the text."""
    line = text.replace("\n", " ")
    for pattern, advice in RULES["words"].items():
        for found in re.finditer(rf"\b{pattern}\b", line, re.IGNORECASE):
            yield found.start(), f'"{found[0]}": {advice}'
    if is_title:
        for word in re.finditer(
            r"(?<=\w )[A-Z][a-z]+", re.sub("|".join(RULES["names"]), "X", text)
        ):
            yield 0, f'"{word[0]}": titles have capitals only in names'
    for sentence in re.finditer(r"\S.*?(?:[.:!?](?=\s)|\Z)", text, flags=re.DOTALL):
        words = len(sentence[0].split())
        if words > RULES["longest"]:
            yield sentence.start(), f"a sentence of {words} words: make two of it"
        if len(re.findall(r",\swhich\b", sentence[0])) > 1:
            yield sentence.start(), "a chain of which: make two sentences of it"


directives.directive = lambda name, *_: (Contents, [])
roles.role = lambda name, *_: (role, [])
found = [
    f"{path}:{first + line - 1 + text.count(chr(10), 0, place)}: {message}\n"
    for path in map(Path, sys.argv[1:])
    for first, block in blocks(path)
    for line, text, is_title in paragraphs(block)
    for place, message in findings(text, is_title)
]
sys.exit("".join(found) or 0)
