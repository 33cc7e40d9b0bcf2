"""The code blocks of docs/sse, with what is said after their language.

`title="path"`: a file of the documents' project. `add`: the block goes to the end of what there
is. `for="name"`: only in a project of that variant. `sh` blocks are run, but for those with
`served` (a server's command), or `run` (the tool). `wire` blocks are what a stream says.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tests.harness.environment import ROOT

PAGES = ROOT / "docs" / "sse"
FIRST_PAGE = "index.md"

_FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
_ATTRIBUTE = re.compile(r'(\w+)(?:="([^"]*)")?')


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    attributes: dict[str, str]
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def title(self) -> str:
        return self.attributes.get("title", "")

    @property
    def variant(self) -> str:
        return self.attributes.get("for", "")


def text_of(page: str) -> str:
    return (PAGES / page).read_text(encoding="utf-8")


def pages() -> list[str]:
    """The first page first."""
    others = sorted(path.name for path in PAGES.glob("*.md") if path.name != FIRST_PAGE)
    return [FIRST_PAGE, *others]


@cache
def blocks() -> tuple[Block, ...]:
    return tuple(block for page in pages() for block in _blocks_of(page))


def _blocks_of(page: str) -> Iterator[Block]:
    text = text_of(page)
    for found in _FENCE.finditer(text):
        language, _, attributes = found[1].partition(" ")
        line = text.count("\n", 0, found.start()) + 1
        named = dict(_ATTRIBUTE.findall(attributes))
        yield Block(page, line, language, named, found[2])
