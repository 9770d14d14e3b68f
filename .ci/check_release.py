"""Check an installed release against its source: python -I .ci/check_release.py SOURCE

All places that name the version agree, and the first example of README.rst runs. A version
such as 0.2.0.dev0 is on its way to a release: only then may CHANGELOG.rst have entries
under "Unreleased", and CITATION.cff names the release before it.
"""

import importlib.metadata
import re
import sys
import textwrap
from datetime import date
from pathlib import Path

import skrbm

source = Path(sys.argv[1]).resolve()
assert source not in Path(skrbm.__file__).parents, "the source is imported"

# The sections of the changelog, for example "0.1.0 (2026-01-31)", and what is in them
text = (source / "CHANGELOG.rst").read_text()
_, *parts = re.split(r"^(\S.*)\n-+\n", text, flags=re.MULTILINE)
sections = {
    title: content.strip() for title, content in zip(*[iter(parts)] * 2, strict=True)
}
unreleased = sections.pop("Unreleased", "")
newest = re.fullmatch(r"(\S+) \((\S+)\)", next(iter(sections), ""))
assert newest, "the newest section of CHANGELOG.rst is not called VERSION (DATE)"
assert sections[newest[0]], "the newest section of CHANGELOG.rst is empty"
released, day = newest.groups()
date.fromisoformat(day)

citation = dict(
    re.findall(r"^([a-z-]+): (.+)$", (source / "CITATION.cff").read_text(), re.M)
)
assert citation["version"] == released, "CITATION.cff and CHANGELOG.rst differ"
assert citation["date-released"] == day, "CITATION.cff and CHANGELOG.rst differ in the date"

assert importlib.metadata.version("skrbm") == skrbm.__version__, "the wheel is another one"
if ".dev" in skrbm.__version__:
    assert not skrbm.__version__.startswith(f"{released}.dev"), f"{released} was released"
else:
    assert skrbm.__version__ == released, "skrbm.__version__ and CHANGELOG.rst differ"
    assert not unreleased, "there are unreleased changes in CHANGELOG.rst"

readme = (source / "README.rst").read_text()
example = re.search(r"^\.\. code-block:: python\n\n((?: .*\n|\n)+)", readme, re.M)[1]
print(f"{skrbm.__version__}: the first example of README.rst prints")
exec(textwrap.dedent(example), {})
