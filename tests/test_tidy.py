"""Goal: the project stays readable by one person. Method: its limits, as tests over its own files.

A limit that hurts is a reason to cut a thing in two, not to raise the limit.
"""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from antsmem.cli.context import OWN_DRIVERS
from antsmem.cli.main import COMMANDS
from antsmem.cli.providers import OWN_PROVIDERS
from antsmem.core import errors
from antsmem.identity.scanner import KEY_BYTES, Scanner

PROJECT = Path(__file__).parents[1]
CODE = sorted(PROJECT.glob("antsmem/**/*.py"))
TESTS = sorted(PROJECT.glob("tests/**/*.py"))
MODULE_LINES, FUNCTION_LINES, PARAMETERS = 400, 60, 6
BESIDES = {"relay", "vectors"}  # extras of parts that are no drivers of an outside system
VAGUE = {"utils", "util", "helpers", "helper", "managers", "manager", "common", "base"}
TOP_LEVEL = {
    *("README.md", "LICENSE", "Makefile", "pyproject.toml", "constraints.txt"),
    *("antsmem", "tests", "templates", "docs", ".ci", ".github", ".gitignore"),
}
Function = ast.FunctionDef | ast.AsyncFunctionDef
SETTINGS = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, Function))


def at(path: Path, node: ast.AST | int = 1) -> str:
    line = node if isinstance(node, int) else getattr(node, "lineno", 1)
    return f"{path.relative_to(PROJECT)}:{line}"


def refuse(found: Iterable[str]) -> None:
    """Fail with every place that breaks a limit, one a line."""
    if lines := sorted(found):
        pytest.fail("\n".join(lines), pytrace=False)


@cache
def kept_files() -> tuple[Path, ...]:
    """What is in the repository, or would be after `git add --all`."""
    if not (PROJECT / ".git").exists():
        pytest.skip("no git repository: what belongs to the project is not known")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
    )
    paths = (PROJECT / name for name in listed.stdout.decode().split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def test_modules_are_short() -> None:
    lengths = {at(path): len(path.read_text("utf-8").splitlines()) for path in (*CODE, *TESTS)}
    refuse(f"{place} {lines} lines" for place, lines in lengths.items() if lines > MODULE_LINES)


def test_functions_are_short() -> None:
    refuse(
        f"{at(path, node)} {node.name}: {length} lines"
        for path in CODE
        for node in functions(path)
        if (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES
    )


def test_functions_take_few_parameters() -> None:
    """A command of the terminal may take more: each is an option."""
    refuse(
        f"{at(path, node)} {node.name}: {count} parameters"
        for path in CODE
        for node in functions(path)
        if (count := len(parameters(node))) > PARAMETERS and not is_command(node)
    )


def parameters(node: Function) -> list[ast.arg]:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [argument for argument in every if argument.arg not in {"self", "cls"}]


def is_command(node: Function) -> bool:
    annotations = (argument.annotation for argument in parameters(node)[:1])
    return any(annotation is not None and ast.unparse(annotation) == "typer.Context" for annotation in annotations)


def test_no_name_says_nothing() -> None:
    named = {path.stem: path for path in (*CODE, *TESTS)} | {path.parent.name: path for path in CODE}
    refuse(VAGUE & named.keys())


def test_test_modules_have_names_of_their_own() -> None:
    names = [path.name for path in TESTS if path.name != "conftest.py"]
    refuse({name for name in names if names.count(name) > 1})


def test_nothing_is_imported_from_a_conftest() -> None:
    """There are several, and only one of them can be the module of that name."""
    refuse(at(path) for path in TESTS if any(name.split(".")[0] == "conftest" for name in imported(path)))


def test_a_module_opens_with_one_sentence() -> None:
    bad = []
    for path in CODE:
        opening = " ".join((ast.get_docstring(tree(path)) or "").partition("\n\n")[0].split())
        if not re.fullmatch(r".*[.:?]", opening) or re.search(r"[.?!] [A-Z]", opening):
            bad.append(f"{at(path)} {opening}")
    refuse(bad)


def test_a_test_module_opens_with_what_it_is_for() -> None:
    refuse(at(path) for path in TESTS if not ast.get_docstring(tree(path)))


def test_public_things_are_documented() -> None:
    """Errors stand in a tree, each with its line; `test_the_error_tree_is_drawn` looks at those."""
    refuse(
        f"{at(path, node)} {node.name}"
        for path in CODE
        if path.name != "errors.py"
        for node in public(tree(path))
        if not ast.get_docstring(node)
    )


def public(node: ast.Module | ast.ClassDef) -> Iterator[Function | ast.ClassDef]:
    for part in node.body:
        if isinstance(part, Function | ast.ClassDef) and not part.name.startswith("_"):
            yield part
            if isinstance(part, ast.ClassDef):
                yield from public(part)


def error_classes(base: type[errors.AntsmemError] = errors.AntsmemError) -> Iterator[type[errors.AntsmemError]]:
    for each in base.__subclasses__():
        if each.__module__ == errors.__name__:
            yield each
            yield from error_classes(each)


def test_the_error_tree_is_drawn() -> None:
    drawing = re.findall(r"^    ([ │]*)[├└]─ (\w+) +(\d+)   (.+)$", errors.__doc__ or "", re.MULTILINE)
    branch = [errors.AntsmemError.__name__]
    drawn = []
    for indent, name, code, says in drawing:
        branch[1 + len(indent) // 3 :] = [name]
        drawn.append((name, branch[-2], int(code), "(transient)" in says))
    actual = [
        (each.__name__, each.__mro__[1].__name__, each.exit_code, each.transient) for each in error_classes()
    ]
    assert sorted(drawn) == sorted(actual)


def test_every_error_is_raised_somewhere() -> None:
    called = {
        node.func.id
        for path in CODE
        if path.name != "errors.py"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    refuse({each.__name__ for each in error_classes()} - called)
    assert errors.AntsmemError.__name__ not in called


def test_errors_are_told_apart() -> None:
    slugs = [each.slug for each in error_classes()]
    assert len(set(slugs)) == len(slugs)


def test_no_failure_is_swallowed() -> None:
    bad = []
    for path in CODE:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler):
                caught = "" if node.type is None else ast.unparse(node.type)
                if node.type is None or re.search(r"\bException\b", caught):
                    bad.append(at(path, node))
    refuse(bad)


def imported(path: Path) -> set[str]:
    """The modules of ours that a module imports, also inside its functions."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def module_name(path: Path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_module_is_dead() -> None:
    paths = {module_name(path): path for path in CODE}
    roots = {
        "antsmem.__main__",
        "antsmem.drill.holder",
        *(f"antsmem.cli.commands.{module}" for module in COMMANDS.values()),
    }
    roots |= {f"antsmem.drivers.{scheme}" for scheme in (*OWN_DRIVERS, *OWN_PROVIDERS)}
    points = SETTINGS["project"]["entry-points"].values()
    roots |= {place.partition(":")[0] for group in points for place in group.values()}
    alive: set[str] = set()
    todo = list(roots)
    while todo:
        name = todo.pop()
        if name in paths and name not in alive:
            alive.add(name)
            todo += [*imported(paths[name]), name.rpartition(".")[0]]
    refuse(paths.keys() - alive)


def test_the_top_level_is_one_look() -> None:
    refuse({path.relative_to(PROJECT).parts[0] for path in kept_files()} - TOP_LEVEL)


def places(pattern: re.Pattern[str], paths: Iterable[Path]) -> Iterator[str]:
    """Where files say what they should not."""
    for path in paths:
        text = path.read_bytes().decode("utf-8", "replace")
        for found in pattern.finditer(text):
            yield f"{at(path, text.count(chr(10), 0, found.start()) + 1)} {found[0]}"


def test_no_file_names_a_machine() -> None:
    """Neither the one it was written on nor the hosts that packages come from."""
    here = "|".join(re.escape(str(place)) for place in {PROJECT, Path.home()} if len(place.parts) > 2)
    machine = re.compile(
        r"(?<![\w.$~{}/])/(?:root|Users/\w|home/(?!kim\b)\w)[\w./-]*"
        r"|pyp[i]\.(?:org|python)|python[h]osted|index-ur[l]" + (f"|{here}" if here else "")
    )
    refuse(places(machine, kept_files()))


def test_no_file_holds_what_looks_like_a_secret() -> None:
    scanner = Scanner(fingerprint_key=bytes(KEY_BYTES))
    refuse(f"{at(path)} {found.rule}" for path in kept_files() for found in scanner.scan(path.read_bytes()))


def test_that_scanner_would_have_found_one() -> None:
    key = "AGE-SECRET-KEY-" + "1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" * 2
    found = Scanner(fingerprint_key=bytes(KEY_BYTES)).scan(key[:74].encode())
    assert [each.rule for each in found] != []


def test_documents_state_the_present() -> None:
    history = re.compile(
        r"\b(previously|formerly|originally|in (?:an )?(?:earlier|older) versions?|used to be|deprecated"
        r"|(?:as of|since|until) (?:version )?v?\d\.\d|now (?:supports|also|uses|has))\b",
        re.IGNORECASE,
    )
    pages = [page for page in (PROJECT / "README.md", *PROJECT.glob("docs/**/*.md")) if page.stem != "changelog"]
    refuse(places(history, pages))


def backends() -> dict[str, str]:
    """The drivers of the shared memory, by name, each with one of its classes."""
    roles = ("logs", "durables", "caches", "vectors", "texts", "blobs", "directories")
    points = SETTINGS["project"]["entry-points"]
    return {name: place for role in roles for name, place in points.get(f"antsmem.{role}", {}).items()}


def driver_modules() -> set[str]:
    """Modules that hold a store."""
    return {
        path.stem
        for path in PROJECT.glob("antsmem/drivers/*.py")
        if any(isinstance(node, ast.ClassDef) and node.name.endswith("Store") for node in tree(path).body)
    } - (backends().keys() - set(OWN_DRIVERS))


def providers_under_test() -> set[str]:
    """The providers that the conformance suite runs against."""
    table = next(
        node.value
        for node in tree(PROJECT / "tests/drivers/conformance/keepers.py").body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "KEEPERS"
    )
    assert isinstance(table, ast.Dict)
    return {key.value for key in table.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}


def schemes_under_test() -> set[str]:
    """The schemes that the conformance suite runs against."""
    return {
        node.value.value
        for node in ast.walk(tree(PROJECT / "tests/drivers/conformance/places.py"))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and node.value.value
        for target in node.targets
        if isinstance(target, ast.Name) and target.id == "scheme" and isinstance(node.value.value, str)
    }


@pytest.mark.parametrize("place", ["module", "entry point", "extra", "test", "page"])
def test_a_driver_has_one_name_in_every_place(place: str) -> None:
    project = SETTINGS["project"]
    names = {
        "module": driver_modules,
        "entry point": lambda: set(project["entry-points"]["antsmem.stores"]),
        "extra": lambda: (
            {*project["optional-dependencies"], "file"}
            - {"all", *BESIDES, *OWN_PROVIDERS, *(backends().keys() - set(OWN_DRIVERS))}
        ),
        "test": schemes_under_test,
        "page": lambda: {path.stem for path in PROJECT.glob("docs/**/*.md")} & set(OWN_DRIVERS),
    }
    assert names[place]() == set(OWN_DRIVERS)


def test_a_provider_has_one_name_in_every_place() -> None:
    project = SETTINGS["project"]
    own = set(OWN_PROVIDERS)
    points = project["entry-points"]["antsmem.secrets"]
    assert points == {name: f"antsmem.drivers.{name}:{name.capitalize()}Provider" for name in OWN_PROVIDERS}
    assert {path.stem for path in PROJECT.glob("docs/how-to/providers/*.md")} == own
    assert providers_under_test() == own
    libraries = {
        name for name in own if f', "{name}") from None' in (PROJECT / f"antsmem/drivers/{name}.py").read_text()
    }
    assert {*project["optional-dependencies"]} - {"all", *BESIDES, *OWN_DRIVERS, *backends()} == libraries


def test_an_entry_point_names_the_class_of_its_driver() -> None:
    points = SETTINGS["project"]["entry-points"]["antsmem.stores"]
    assert points == {name: f"antsmem.drivers.{name}:{name.capitalize()}Store" for name in OWN_DRIVERS}


def test_all_extras_are_in_all() -> None:
    extras = SETTINGS["project"]["optional-dependencies"]
    assert extras["all"] == [f"antsmem[{','.join(sorted(extras.keys() - {'all'}))}]"]


def test_constraints_hold_versions_and_nothing_else() -> None:
    lines = (PROJECT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    refuse(line for line in pins if not re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; [!\w.<>=' ]+)?", line))
    pinned = {pin.partition("==")[0] for pin in pins}
    groups = (SETTINGS["project"]["optional-dependencies"], SETTINGS["dependency-groups"])
    wanted = [
        *SETTINGS["project"]["dependencies"],
        *(item for group in groups for each in group.values() for item in each),
    ]
    names = {re.split(r"[\[<>=]", item)[0].lower().replace("_", "-") for item in wanted} - {"antsmem"}
    refuse(names - pinned)
