"""Check the built pages: python .ci/check_pages.py HTML_DIRECTORY [--axe AXE_SCRIPT]

1. Each public name is in the inventory of the reference, with an anchor that exists.
2. Scripts, styles, fonts and pictures come with the pages.
3. No page scrolls sideways in a window of 1280 or 420 pixels, and no code at 1280.
4. With the path of axe.min.js (npm package axe-core), that axe finds no violation of
   WCAG 2 at levels A and AA, for example of contrast, or of texts for pictures.

3 and 4 need Chromium, its driver and the package selenium.
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

from numpydoc.docscrape import ClassDoc
from selenium import webdriver

MODULES = ["", ".callbacks", ".dask", ".likelihood", ".metrics", ".plotting", ".sampling"]
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
        page, _, anchor = places.get(name, "").replace("$", name).partition("#")
        if f'id="{anchor}"' not in pages.get(root / page, ""):
            yield f"objects.inv: {name} is not in the reference"


class Loads(HTMLParser):
    """What a page loads without being asked to."""

    def __init__(self, page):
        super().__init__()
        self.urls = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.urls.append(attrs.get("src"))
        elif tag == "link" and attrs.get("rel") not in ("search", "canonical"):
            self.urls.append(attrs.get("href"))


def check_hosts(root, pages):
    """Yield what the pages and their style sheets load from other hosts."""
    loads = {page: Loads(text).urls for page, text in pages.items()}
    for sheet in root.rglob("*.css"):
        loads[sheet] = re.findall(r"(?:url\(|@import )['\"]?([^'\")]+)", sheet.read_text())
    for page, urls in loads.items():
        for url in urls:
            if re.match("(https?:)?//", url or ""):
                yield f"{page.relative_to(root)}: loads {url}"


def check_layout(root, pages, axe):
    """Yield what is too wide for a window, and what axe finds."""
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
        for page in pages:
            name = page.relative_to(root)
            driver.get(page.as_uri())
            for width, scrollable in WIDTHS.items():
                metrics = {"width": width, "height": 800, "deviceScaleFactor": 1}
                driver.execute_cdp_cmd(
                    "Emulation.setDeviceMetricsOverride", metrics | {"mobile": False}
                )
                for wide in driver.execute_script(WIDE, scrollable):
                    yield f"{name}: too wide for {width} pixels: {wide}"
            if axe:
                driver.execute_script(axe)
                for violation in driver.execute_async_script(AXE):
                    yield f"{name}: {violation}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--axe", type=Path)
    args = parser.parse_args()
    root = args.root.resolve()
    pages = sorted(root.rglob("*.html"))
    templates_and_code = {"_static", "_modules"}
    pages = [page for page in pages if templates_and_code.isdisjoint(page.parts)]
    pages = {page: page.read_text() for page in pages}
    axe = args.axe and args.axe.read_text()
    start = time.perf_counter()
    errors = [
        *check_inventory(root, pages),
        *check_hosts(root, pages),
        *check_layout(root, pages, axe),
    ]
    print(
        f"{len(pages)} pages checked in {time.perf_counter() - start:.0f} s",
        *errors,
        sep="\n",
    )
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
