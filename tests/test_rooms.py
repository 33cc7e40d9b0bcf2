"""How the modules of `sse` stand to one another: what each imports, at any place in it."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Each may import from those before it, and from what stands beside the rooms.
ROOMS = ("process", "log", "live", "streams", "serving")
FOR_ALL = frozenset({"sse", "sse.conf", "sse.exceptions", "sse.models"})
LINES_AT_MOST = 350
# Not of sse's own dependencies: whoever imports these has them.
OPTIONAL = {
    "prometheus_client": {"sse.live.metrics", "sse.prometheus"},
    "channels_redis": set[str](),
    "redis": set[str](),
}


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in (ROOT / "sse").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


@cache
def imports(module: str) -> frozenset[str]:
    found = set()
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (f"{node.module}.{each.name}" for each in node.names)
            found |= {name if name in modules() else node.module for name in names}
    return frozenset(found)


def room(module: str) -> str:
    return next((name for name in ROOMS if module.startswith(f"sse.{name}")), "")


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Also for types alone: whoever has to know the other's type knows the other."""
    graph = {name: imports(name) & modules().keys() - {name} for name in modules()}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("name", ROOMS)
def test_rooms_are_entered_from_one_side(name: str) -> None:
    before = ROOMS[: ROOMS.index(name) + 1]
    inside = [module for module in modules() if room(module) == name]
    assert inside
    for module in inside:
        ours = imports(module) & modules().keys() - FOR_ALL
        assert {each for each in ours if room(each) not in before} == set(), module


@pytest.mark.parametrize(("package", "users"), OPTIONAL.items())
def test_what_is_optional_is_imported_where_it_must_be(package: str, users: set[str]) -> None:
    found = {
        module
        for module in modules()
        if any(name.split(".")[0] == package for name in imports(module))
    }
    assert found == users


def test_no_file_of_the_rooms_is_long() -> None:
    lengths = {
        module: len(path.read_text().splitlines())
        for module, path in modules().items()
        if room(module)
    }
    assert {name: lines for name, lines in lengths.items() if lines > LINES_AT_MOST} == {}
