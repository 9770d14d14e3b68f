"""Check the built pages: python .ci/check_pages.py HTML_DIRECTORY [--axe AXE_SCRIPT]

1. Each public name is in the inventory of the reference, with an anchor that exists.
2. Links between the pages lead to files and anchors that exist.
3. Scripts, styles, fonts and pictures come with the pages.

With the path of axe.min.js (npm package axe-core), also in Chromium:

4. No page scrolls sideways in a window of 1280 or 420 pixels, and no code at 1280.
5. axe finds no violation of WCAG 2 at levels A and AA, for example of contrast, or of texts
   for pictures. This is left out where there is no such file.

4 and 5 need Chromium, its driver and the package selenium.
"""

import argparse
import importlib
import inspect
import re
import shutil
import sys
import time
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from numpydoc.docscrape import ClassDoc

MODULES = ["", ".callbacks", ".dask", ".inspection", ".likelihood", ".metrics"]
MODULES += [".plotting", ".sampling"]
OPTIONS = ["headless", "no-sandbox", "disable-gpu", "hide-scrollbars", "no-first-run"]
OPTIONS += ["disable-background-networking", "disable-component-update", "disable-sync"]
# Widths of the window, and what may scroll sideways in it.
WIDTHS = {
    1280: ".pst-scrollable-table-container",
    420: "pre, .formula, .pst-scrollable-table-container",
}
WIDE = """
const wide = [], root = document.scrollingElement;
for (const element of document.querySelectorAll("*")) {
    const excess = element.scrollWidth - element.clientWidth;
    const scrolls = ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
    if (excess > 0 && (element === root || (scrolls && !element.matches(arguments[0]))))
        wide.push(`${element.tagName} ${element.className} by ${excess}`);
}
return wide;
"""
# The roles are those of citations by docutils.
AXE = """
const done = arguments[arguments.length - 1];
const off = {enabled: false};
axe.run({
    runOnly: ["wcag2a", "wcag2aa"],
    rules: {"aria-deprecated-role": off, "aria-required-children": off},
}).then(result => done(result.violations.map(
    found => `${found.id}: ${found.nodes.map(node => node.html).slice(0, 3)}`)));
"""


def public_names():
    """Yield all public names: of modules, and of methods and attributes of classes."""
    for suffix in MODULES:
        module = importlib.import_module(f"skrbm{suffix}")
        for name in module.__all__:
            found = getattr(module, name)
            yield f"{module.__name__}.{name}"
            if inspect.isclass(found):
                members = [key for key in dir(found) if not key.startswith("_")]
                for documented in ClassDoc(found)["Attributes"]:
                    members += documented.name.split(", ")
                yield from (f"{module.__name__}.{name}.{member}" for member in members)


def check_inventory(root, pages):
    """Yield the public names that the inventory lacks, and those without their anchor."""
    inventory = (root / "objects.inv").read_bytes().split(b"\n", 4)[4]
    lines = zlib.decompress(inventory).decode().splitlines()
    places = {line.split()[0]: line.split()[3] for line in lines}
    for name in public_names():
        path, _, anchor = places.get(name, "").replace("$", name).partition("#")
        page = pages.get(root / path)
        if page is None or anchor not in page.anchors:
            yield f"objects.inv: {name} is not in the reference"


class Page(HTMLParser):
    """The anchors of a page, its links, and what it loads without being asked to."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.loads = {"", "top"}, [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors.add(attrs.get("id"))
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.loads.append(attrs.get("src") or "")
        elif tag == "a":
            self.links.append(attrs.get("href") or "")
        elif tag == "link" and attrs.get("rel") not in ("search", "canonical"):
            self.loads.append(attrs.get("href") or "")


def check_links(root, pages):
    """Yield the links between pages, and what pages load, that lead nowhere.

    The links from code back to the reference are left out: after a build that began with
    the page of a subclass in another module, Sphinx writes that module into them.
    """
    for path, page in pages.items():
        links = () if root / "_modules" in path.parents else page.links
        for url in {*links, *page.loads}:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file():
                yield f"{path.relative_to(root)}: there is no file {url}"
            elif target in pages and anchor not in pages[target].anchors:
                yield f"{path.relative_to(root)}: there is no anchor {url}"


def check_hosts(root, pages):
    """Yield what the pages and their style sheets load from other hosts."""
    loads = {path: page.loads for path, page in pages.items()}
    for sheet in root.rglob("*.css"):
        loads[sheet] = re.findall(r"(?:url\(|@import )['\"]?([^'\")]+)", sheet.read_text())
    for path, urls in loads.items():
        for url in urls:
            if re.match("(https?:)?//", url):
                yield f"{path.relative_to(root)}: loads {url}"


def check_layout(root, pages, axe):
    """Yield what is too wide for a window, and what axe finds, if it is there."""
    from selenium import webdriver  # the other checks do without

    if axe.exists():
        axe_script = axe.read_text()
    else:
        axe_script = None
        print(f"The pages are not checked with axe, because there is no {axe}.")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and driver):
        sys.exit(
            "Install chromium and its driver: apt-get install chromium chromium-driver"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for option in OPTIONS:
        options.add_argument(f"--{option}")
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as driver:

        def resize(width):
            metrics = {"width": width, "height": 800, "deviceScaleFactor": 1}
            driver.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride", metrics | {"mobile": False}
            )

        # The theme makes scrollable code focusable when a page is loaded, and some time
        # after a resize. axe comes at the narrow width, so pages are loaded at it.
        resize(min(WIDTHS))
        for page in pages:
            name = page.relative_to(root)
            driver.get(page.as_uri())
            for width, scrollable in WIDTHS.items():
                resize(width)
                for wide in driver.execute_script(WIDE, scrollable):
                    yield f"{name}: too wide for {width} pixels: {wide}"
            if axe_script:
                driver.execute_script(axe_script)
                for violation in driver.execute_async_script(AXE):
                    yield f"{name}: {violation}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--axe", type=Path)
    args = parser.parse_args()
    root = args.root.resolve()
    templates = root / "_static"
    pages = {
        path: Page(path)
        for path in sorted(root.rglob("*.html"))
        if templates not in path.parents
    }
    start = time.perf_counter()
    errors = [
        *check_inventory(root, pages),
        *check_links(root, pages),
        *check_hosts(root, pages),
    ]
    if args.axe:
        code = root / "_modules"
        written = {path: page for path, page in pages.items() if code not in path.parents}
        errors += check_layout(root, written, args.axe)
    print(
        f"{len(pages)} pages checked in {time.perf_counter() - start:.0f} s",
        *errors,
        sep="\n",
    )
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
