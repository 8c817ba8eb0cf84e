"""Check the built site: every link leads somewhere, and nothing comes from elsewhere.

``python tools/check_site.py site``
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {
    ("script", "src"),
    ("img", "src"),
    ("link", "href"),
    ("source", "src"),
    ("iframe", "src"),
}
"""What a browser fetches by itself."""


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[str, str, str]] = []
        self.anchors = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if name in ("href", "src") and value:
                self.links.append((tag, name, value))


def faults(site: Path) -> Iterator[str]:
    """Yield a sentence for each link that leads nowhere and each thing fetched from elsewhere."""
    pages = {path.resolve(): _Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        if path.name == "404.html":  # its links begin at the root of a server
            continue
        name = path.relative_to(site.resolve())
        for tag, attribute, value in page.links:
            parts = urlsplit(value)
            if parts.scheme or parts.netloc:
                if (tag, attribute) in LOADED and parts.scheme != "data":
                    yield f"{name}: <{tag}> is fetched from {value}"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                yield f"{name}: {value} is not there"
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{name}: {value} has no such heading"


def main(folder: str) -> int:
    """Print what is wrong; return the exit status."""
    found = list(faults(Path(folder)))
    print("\n".join([*found, f"{len(found)} fault(s) in the links of {folder}"]))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
