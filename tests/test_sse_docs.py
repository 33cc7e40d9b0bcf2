"""What docs/sse lists is what there is, and each of its code blocks is run somewhere."""

import re
from pathlib import Path

import pytest

from sse import conf
from tests.harness.environment import ROOT
from tests.published.documents import PAGES, Block, blocks, pages, text_of

APP = ROOT / "sse"


def listed(page: str) -> set[str]:
    """What stands as code at the beginning of a row of one of its tables."""
    return set(re.findall(r"^\| `([^`]+)`", text_of(page), re.MULTILINE))


def sources() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in APP.rglob("*.py"))


def test_every_setting_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `(SSE_\w+)` \| `(.+?)` \|", text_of("settings.md"), re.MULTILINE)

    assert {name: eval(default) for name, default in rows} == conf.NAMES  # noqa: S307


def test_no_setting_is_named_that_is_none() -> None:
    named = {name for page in pages() for name in re.findall(r"\bSSE_[A-Z_]+\b", text_of(page))}

    assert named == set(conf.NAMES)


def test_every_public_name_is_in_the_reference() -> None:
    import sse

    documented = set(re.findall(r"`sse\.(\w+)\b", text_of("reference.md")))
    assert set(sse.__all__) <= documented
    for name in documented & set(sse.__all__):
        assert getattr(sse, name)


def test_every_check_is_in_the_reference() -> None:
    there = set(re.findall(r'"(sse\.[EW]\d+)"', sources()))

    assert there
    assert there == {name for name in listed("reference.md") if re.match(r"sse\.[EW]\d", name)}


def test_every_command_is_in_the_reference() -> None:
    there = {path.stem for path in (APP / "management" / "commands").glob("[!_]*.py")}
    listed_ones = re.findall(r"^\| `manage\.py (\w+)", text_of("reference.md"), re.MULTILINE)

    assert set(listed_ones) == there


def test_every_control_frame_is_in_the_reference() -> None:
    sent = set(re.findall(r"\.control\(\s*\"(\w+)\"", sources()))
    reasons = set(re.findall(r"(?:\.lose\(|\.reset = )\"([\w ]+)\"", sources()))
    rows = dict(
        re.findall(r"^\| `sse-(\w+)` \| (.*) \|$", text_of("reference.md"), re.MULTILINE)
    )

    assert rows.keys() == sent >= {"connected", "reset"}
    # `behind` is said to the app itself.
    assert [each for each in reasons - {"behind"} if each not in rows["reset"]] == []


def test_every_refusal_is_in_the_reference() -> None:
    there = set(re.findall(r"Refused\(\s*(\d+),\s*\"([A-Z_]+)\"", sources()))
    rows = re.findall(r"^\| (\d{3}) \| (.+?) \|", text_of("reference.md"), re.MULTILINE)
    listed_ones = {(status, code) for status, codes in rows for code in codes.split(", ")}

    assert there
    assert {(status, f"`{code}`") for status, code in there} == listed_ones


def test_every_link_leads_somewhere() -> None:
    broken = [
        f"{page}: {target}"
        for page in pages()
        for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page))
        if not target.startswith("https://") and not leads_somewhere(PAGES / page, target)
    ]

    assert not broken


def leads_somewhere(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    found = (page.parent / path).resolve() if path else page
    if not found.exists() or not anchor:
        return found.exists()
    headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {
        re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings
    }


def test_figures_are_those_of_the_benchmarks_table() -> None:
    measured = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    figures = re.findall(r"[\d.]+ µs|× [\d.]*\d", text_of("compare.md"))

    assert len(figures) > 3
    assert [each for each in figures if each not in measured] == []


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_every_block_is_run_somewhere(block: Block) -> None:
    """By tests/test_sse_project.py, which goes by these marks."""
    if block.language in ("python", "html", "nginx", "js"):
        assert block.title
    elif block.language == "wire":
        assert not block.attributes
    else:
        assert block.language == "sh"
        assert block.attributes.keys() <= {"served", "run"}
    assert block.variant in ("", "redis", "postgresql", "sqlite", "websockets")
