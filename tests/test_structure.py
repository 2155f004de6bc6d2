"""The package's structure: which room may import which, and what no module takes from another."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import akidb_embeddings

PACKAGE = Path(akidb_embeddings.__file__).parent
NAME = "akidb_embeddings"
# From the top down: a room imports from lower lines alone. Rooms of one line do not import each other.
FLOORS = (
    ("__main__",),
    ("cli",),
    ("server", "bulk"),
    ("distributed",),
    ("conversion",),
    ("diagnostics", "mteb_encoder"),
    ("evaluation", "pool", "sentence_transformers"),
    ("reranking",),
    ("service",),
    ("engine",),
    ("architectures",),
    ("compute",),
    ("hub",),
    ("tokenization",),
    ("checkpoint",),
    ("config",),
    ("vectors", "registry", "supervision"),
    ("extras", "__init__"),
    ("errors",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# The same for the folders of the one room that has some. Modules in no folder are above them.
SERVER_FLOORS = (("",), ("dialects", "rpc"), ("http",), ("calls",), ("sockets",), ("observability",))
SERVER_FLOOR = {part: floor for floor, parts in enumerate(SERVER_FLOORS) for part in parts}
FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if not file.stem.endswith(("_pb2", "_pb2_grpc"))]


class Import(NamedTuple):
    """``name`` of the module ``source`` (dotted, below the package), taken by the module ``target``."""

    target: str
    source: str
    name: str
    line: int
    is_for_types: bool


def module_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def room_of(module: str) -> str:
    return module.partition(".")[0]


def part_of_server(module: str) -> str:
    """The folder in the room ``server``; "" for none."""
    _, *parts, _ = module.split(".")
    return ".".join(parts)


def own_imports(file: Path) -> Iterator[Import]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    typed = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            if node.module and (node.module == NAME or node.module.startswith(f"{NAME}.")):
                source = node.module.removeprefix(NAME).removeprefix(".") or "__init__"
                for alias in node.names:
                    inner = f"{source}.{alias.name}".removeprefix("__init__.")
                    is_module = (PACKAGE / inner.replace(".", "/")).with_suffix(".py").is_file() or (
                        (PACKAGE / inner.replace(".", "/")).is_dir()
                    )
                    yield Import(
                        module_of(file), inner if is_module else source, alias.name, node.lineno, id(node) in typed
                    )
        elif isinstance(node, ast.Import):
            for alias in node.names:
                assert not alias.name.startswith(f"{NAME}."), f"{file}: take names from modules"


# The package's own ``__init__`` hands on public names, each when it is first used.
IMPORTS = [one for file in FILES if module_of(file) != "__init__" for one in own_imports(file)]


def test_every_room_has_its_floor() -> None:
    rooms = {room_of(module_of(file)) for file in FILES}
    assert rooms == set(FLOOR)
    assert len(rooms) <= 28


# Where a docstring gives the rule for the modules' names in place of each name.
NAMED_BY_RULE = {"architectures": re.compile(r".*"), "server.dialects": re.compile(r"\w+_schemas")}


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.stem == "__init__" and file.parent != PACKAGE], ids=module_of
)
def test_each_folder_names_its_modules(file: Path) -> None:
    named = set(re.findall(r"``(\w+)``", ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""))
    modules = {module_of(other).rpartition(".")[2] for other in FILES if other.parent == file.parent and other != file}
    rule = NAMED_BY_RULE.get(module_of(file), re.compile("(?!)"))
    assert {module for module in modules - named if not rule.fullmatch(module)} == set()


def test_imports_run_downward() -> None:
    upward = [
        one
        for one in IMPORTS
        if room_of(one.target) != room_of(one.source) and FLOOR[room_of(one.source)] <= FLOOR[room_of(one.target)]
    ]
    assert not upward


def test_imports_run_downward_in_the_server() -> None:
    own = [one for one in IMPORTS if {room_of(one.target), room_of(one.source)} == {"server"}]
    packages = {f"server.{part}".rstrip(".") for part in SERVER_FLOOR}
    modules = {module_of(file) for file in FILES if room_of(module_of(file)) == "server"} - packages
    assert {part_of_server(module) for module in modules} == set(SERVER_FLOOR)
    upward = [
        one
        for one in own
        if (part := part_of_server(one.source)) != part_of_server(one.target)
        and one.source in modules  # not what is generated
        and SERVER_FLOOR[part] <= SERVER_FLOOR[part_of_server(one.target)]
    ]
    assert not upward


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for one in IMPORTS:
        graph.setdefault(one.target, set()).add(one.source)
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_no_private_name_is_taken_from_another_module() -> None:
    assert not [one for one in IMPORTS if one.name.startswith("_") and one.name != "__version__"]


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_mlx_is_imported_in_one_place(file: Path) -> None:
    """Behind it is the BLAS that has to be loaded first."""
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert "mlx" not in imported or module_of(file) == "compute.runtime"


def test_files_fit_on_a_few_screens() -> None:
    long = {module_of(file): lines for file in FILES if (lines := len(file.read_text().splitlines())) > 300}
    assert not long


# Ways to take a string apart.
_STRING_METHODS = {
    *("replace", "removeprefix", "removesuffix", "partition", "rpartition", "split", "rsplit", "splitlines"),
    *("startswith", "endswith", "find", "rfind", "index", "rindex", "translate"),
}


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_no_error_is_read_back_from_its_message(file: Path) -> None:
    """Errors carry their data as attributes, so that nothing in a text or name of a client's can pass for it."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    caught = {node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.name}
    caught |= {
        argument.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for argument in node.args.args + node.args.kwonlyargs
        if argument.annotation and re.search(r"(Error|Exception|Outcome)\b", ast.unparse(argument.annotation))
    }
    names = "|".join(caught)
    message = re.compile(rf"\b(?:str|repr)\((?:{names})\)|\b(?:{names})\.(?:message|args|text)\b")
    kept = {  # under another name, also as an argument
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and caught and message.search(ast.unparse(node.value))
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    if kept:
        message = re.compile(rf"{message.pattern}|\b(?:{'|'.join(kept)})\b")
    for node in ast.walk(tree) if caught else ():
        taken_apart = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in _STRING_METHODS:
                taken_apart = [node.func.value]
            elif ast.unparse(node.func.value) in ("re", "_INDEX") or node.func.attr in ("sub", "match", "search"):
                taken_apart = [*node.args]
        elif isinstance(node, ast.Compare) and any(isinstance(one, ast.In | ast.NotIn) for one in node.ops):
            taken_apart = node.comparators
        elif isinstance(node, ast.Subscript):
            taken_apart = [node.value]
        assert not [ast.unparse(node) for one in taken_apart if message.search(ast.unparse(one))]


def test_functions_fit_on_a_screen() -> None:
    long = {
        f"{module_of(file)}.{node.name}": lines
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > 50
    }
    assert not long
