"""The house keeps its promises: rooms in the order of the data, no circles, one name for one thing."""

import ast
import inspect
import re
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "pitl"
ROOMS = (
    "errors", "files", "mechanics", "config", "data", "signals", "net", "learn", "comparison", "live", "report", "cli",
)  # fmt: skip
OWN_WORDS = (
    "law of motion", "so-manieth", "unspoilt", "stretches of", "Bundle", "ArmResult",
)  # fmt: skip


def modules():
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(("pitl", *path.relative_to(ROOT).with_suffix("").parts))
        found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(name):
    """Modules of the package that a module imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{name} imports relatively"
            names = [f"{node.module}.{a.name}" for a in node.names]
        else:
            continue
        for full in names:
            while full and full not in MODULES:
                full = full.rpartition(".")[0]
            if full not in ("", "pitl", name):
                found.add(full)
    return found


GRAPH = {name: imports(name) for name in MODULES if name not in ("pitl", "pitl.__main__")}


def room(name):
    return name.split(".")[1]


def test_there_are_twelve_rooms_and_nothing_beside_them():
    entries = {p.stem for p in ROOT.iterdir() if not p.name.startswith((".", "__")) and p.name != "py.typed"}
    assert entries == set(ROOMS)


def test_a_room_imports_only_rooms_before_it():
    order = {name: k for k, name in enumerate(ROOMS)}
    wrong = [(a, b) for a, found in GRAPH.items() for b in found if order[room(b)] > order[room(a)]]
    assert not wrong


def test_the_product_never_imports_the_comparison():
    assert not [
        (a, b)
        for a, found in GRAPH.items()
        for b in found
        if room(b) == "comparison" and room(a) not in ("comparison", "report", "cli")
    ]


def test_the_network_reads_the_samples_of_the_signals_alone():
    used = {b for a, found in GRAPH.items() if room(a) == "net" for b in found if room(b) != "net"}
    assert used == {"pitl.signals.samples"}


def test_no_circle_of_imports_anywhere():
    finished, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in finished:
            return
        path.append(name)
        for other in sorted(GRAPH.get(name, ())):
            if not name.startswith(f"{other}."):  # a module may know its own room
                visit(other)
        path.pop()
        finished.add(name)

    for name in GRAPH:
        visit(name)


def test_no_two_classes_have_one_name():
    where = defaultdict(list)
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(name)
    assert not {k: v for k, v in where.items() if len(v) > 1}


def public_functions():
    for name, path in MODULES.items():
        if room(f"{name}.") == "cli" or name.startswith("pitl.cli"):  # options of a command are its parameters
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in [*tree.body, *(m for c in tree.body if isinstance(c, ast.ClassDef) for m in c.body)]:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
                yield name, node


def test_no_public_function_has_more_than_eight_parameters():
    def count(node):
        a = node.args
        named = [x for x in (*a.posonlyargs, *a.args, *a.kwonlyargs) if x.arg not in ("self", "cls")]
        return len(named)

    assert not [(name, node.name, count(node)) for name, node in public_functions() if count(node) > 8]


def test_every_public_function_and_every_module_says_what_it_is_for():
    for path in MODULES.values():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or path.name == "__main__.py", path
    tops = [(name, n) for name, path in MODULES.items() for n in ast.parse(path.read_text(encoding="utf-8")).body]
    functions = [(name, n) for name, n in tops if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
    assert not [(name, n.name) for name, n in functions if not ast.get_docstring(n)]


def test_settings_that_were_validated_are_changed_by_validation():
    for name, path in MODULES.items():
        assert "model_copy" not in path.read_text(encoding="utf-8"), name


@pytest.mark.parametrize("word", OWN_WORDS)
def test_words_of_our_own_are_not_used(word):
    root = ROOT.parent
    files = [*MODULES.values(), *(root / "configs").rglob("*.toml"), *ROOT.rglob("*.jinja"), *ROOT.rglob("*.html")]
    assert not [p for p in files if re.search(rf"\b{word}\b", p.read_text(encoding="utf-8"))]


def test_the_package_shows_what_it_promises_and_each_name_has_an_example():
    import pitl

    assert set(dir(pitl)) >= set(pitl.__all__)
    for name in pitl.__all__:
        value = getattr(pitl, name)
        doc = inspect.getdoc(value) or ""
        assert "Example" in doc or name in ("Cohort",), name
    with pytest.raises(AttributeError, match="it has Cohort"):
        pitl.nothing  # noqa: B018
    assert (ROOT / "py.typed").is_file()


def test_every_method_of_the_list_is_a_function_of_the_comparison():
    from pitl.config.methods import METHODS

    for name, method in METHODS.items():
        assert callable(getattr(import_module(f"pitl.comparison.{method.module}"), name))
        assert ("measured" in name) == method.measured_motion == ("measured test motion" in method.title)
