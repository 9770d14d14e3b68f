"""Pages of the user guide have the parts that CONTRIBUTING.rst asks for."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
GUIDE = re.findall(r"^   ([\w-]+)$", (DOCS / "user_guide.rst").read_text(), flags=re.M)
TITLE = re.compile(r"^(\S.*)\n([-=~^])\2+$", flags=re.MULTILINE)


def text_of(page):
    return (DOCS / f"{page}.rst").read_text()


def test_the_guide_has_pages():
    assert len(GUIDE) > 10


@pytest.mark.parametrize("page", GUIDE)
def test_a_page_is_short(page):
    assert len(text_of(page).split()) <= 900


@pytest.mark.parametrize("page", GUIDE)
def test_a_page_has_a_picture_with_a_text(page):
    pictures = re.findall(
        r"^ *\.\. (?:plot|image|figure):: .+\n((?: +:.*\n)*)", text_of(page), re.M
    )
    assert pictures
    assert all(":alt:" in options for options in pictures)


@pytest.mark.parametrize("page", GUIDE)
def test_a_page_begins_with_code(page):
    begin = re.split(
        r"^(?:>>> |\.\. code-block:: |(?! *\.\.).*::$)", text_of(page), flags=re.M
    )[0]
    paragraphs = TITLE.sub("", begin).split("\n\n")
    prose = [part for part in paragraphs if part.strip() and part.strip()[:2] != ".."]
    assert len("\n".join(prose).split("\n")) <= 10


@pytest.mark.parametrize("page", GUIDE)
def test_a_page_ends_with_its_limits(page):
    assert TITLE.findall(text_of(page))[-1][0] == "Limits"
