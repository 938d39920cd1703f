"""Imports go one way, nothing heavy is imported early, and names say what a module is about."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("restnet_tf", "tflite_export", "benchmarks")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
# Run by hand, imported by nothing: they need what they measure, once they run.
SCRIPTS = {"benchmarks.cka", "benchmarks.elastic", "benchmarks.heap", "benchmarks.linking", "benchmarks.router"}
HEAVY = {"tensorflow", "keras", "sklearn", "matplotlib", "ai_edge_litert", "scipy", "torch"}
# Holds a Keras layer, so it imports Keras, and others import it in functions only.
LAYERS = "restnet_tf.tokens"
# What these do to a process (they set TF_USE_LEGACY_KERAS) stays in a process of its own.
LEGACY = {"tf_keras", "tensorflow_model_optimization"}
HEAVY |= LEGACY


@dataclass(frozen=True)
class Import:
    """One name that a module imports: at its top level, in a function, or for type checks alone."""

    target: str
    where: str  # "top", "function" or "types"


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in FILES}


def imports(source: str) -> list[Import]:
    return list(_imports(ast.parse(source), "top"))


def _imports(node: ast.AST, where: str) -> Iterator[Import]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        where = "function" if where == "top" else where
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, where) for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        assert not node.level, "relative imports hide where they go"
        yield from (Import(f"{node.module}.{alias.name}", where) for alias in node.names)
    typed = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _imports(child, "types" if typed and name == "body" else where)


def package(target: str) -> str:
    return target.split(".")[0]


def imports_of(path: Path) -> list[Import]:
    return imports(path.read_text())


def targets(path: Path) -> set[str]:
    return {found.target for found in imports_of(path)}


def test_the_reader_of_imports_sees_all_kinds():
    source = (
        "import a.b\nfrom c import d\nif TYPE_CHECKING:\n    import e\nelse:\n    import f\n"
        "def g():\n    from h import i\nclass J:\n    import k\ntry:\n    import m\nexcept ImportError:\n    pass\n"
    )
    assert imports(source) == [
        Import("a.b", "top"),
        Import("c.d", "top"),
        Import("e", "types"),
        Import("f", "top"),
        Import("h.i", "function"),
        Import("k", "top"),
        Import("m", "top"),
    ]


def test_every_package_is_read():
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(PACKAGES)
    assert len(FILES) > 30


@pytest.mark.parametrize("name", [n for n in MODULES if package(n) == "tflite_export"])
def test_tflite_export_imports_neither_of_the_others(name):
    assert not [t for t in targets(MODULES[name]) if package(t) in ("restnet_tf", "benchmarks")]


@pytest.mark.parametrize("name", [n for n in MODULES if package(n) == "benchmarks"])
def test_benchmarks_import_tflite_export_alone(name):
    found = [i for i in imports_of(MODULES[name]) if package(i.target) == "restnet_tf"]
    if name in SCRIPTS:
        found = [i for i in found if i.where == "top"]
    assert found == []


@pytest.mark.parametrize("name", [n for n in MODULES if package(n) == "restnet_tf"])
def test_only_methods_and_the_command_line_know_the_other_packages(name):
    if name == "restnet_tf.cli" or name.startswith("restnet_tf.methods"):
        return
    assert not [t for t in targets(MODULES[name]) if package(t) in ("tflite_export", "benchmarks")]


@pytest.mark.parametrize("name", [n for n in MODULES if n != "restnet_tf.cli"])
def test_nothing_imports_the_command_line_or_a_script(name):
    assert not [t for t in targets(MODULES[name]) if t.startswith(("restnet_tf.cli", *SCRIPTS))]


@pytest.mark.parametrize("name", [n for n in MODULES if n != LAYERS])
def test_nothing_heavy_is_imported_at_the_top(name):
    early = [i for i in imports_of(MODULES[name]) if i.where == "top"]
    heavy = [i for i in early if package(i.target) in HEAVY or i.target.startswith(LAYERS)]
    assert not heavy, f"{name} imports {heavy} whenever it is imported"


@pytest.mark.parametrize("name", MODULES)
def test_legacy_keras_and_ours_meet_in_no_module(name):
    legacy = {t for t in targets(MODULES[name]) if package(t) in LEGACY}
    assert not legacy or name == "restnet_tf.tfmot_worker"


def test_the_worker_knows_nothing_of_the_project():
    assert not [t for t in targets(MODULES["restnet_tf.tfmot_worker"]) if package(t) in (*PACKAGES, "keras")]


@pytest.mark.parametrize("name", MODULES)
def test_names_say_what_a_module_is_about(name):
    vague = {"utils", "util", "common", "helpers", "helper", "manager", "misc", "tools"}
    assert not vague & set(name.split("."))


def known(target: str) -> str | None:
    """The project's module that ``from module import name`` or ``import module`` runs."""
    parts = target.split(".")
    for end in range(len(parts), 0, -1):
        if (name := ".".join(parts[:end])) in MODULES:
            return name
    return None


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """The nodes of one cycle, empty where there is none."""
    done: set[str] = set()

    def walk(node: str, trail: list[str]) -> list[str]:
        if node in trail:
            return trail[trail.index(node) :]
        if node in done:
            return []
        for follower in sorted(graph.get(node, ())):
            if found := walk(follower, [*trail, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := walk(node, []))), [])


def test_cycles_are_found():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_import_cycle():
    graph = {
        name: {module for i in imports_of(path) if i.where == "top" and (module := known(i.target)) and module != name}
        for name, path in MODULES.items()
    }
    assert sum(len(followers) for followers in graph.values()) > 50  # the graph is there to be looked at
    assert cycle(graph) == []


def test_data_sources_and_images_import_one_way():
    local = {n: {known(t) for t in targets(MODULES[f"restnet_tf.{n}"])} for n in ("images", "arrays", "sources")}
    above = {"restnet_tf.data", "restnet_tf.sources"}
    assert not local["images"] & above
    assert not local["arrays"] & above
    assert "restnet_tf.data" not in local["sources"]


def test_what_is_not_python_is_installed_with_the_package():
    """The report's page, and what is copied to devices."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packed = {path for pattern in settings["benchmarks"] for path in (ROOT / "benchmarks").glob(pattern)}
    folders = [ROOT / "benchmarks" / name for name in ("harness", "page")]
    there = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    there = {path for path in there if "__pycache__" not in path.parts}
    assert len(there) > 5
    assert {path for path in packed if path.is_file()} == there


def test_help_answers_without_tensorflow():
    script = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from restnet_tf.cli import main\n"
        "result = CliRunner().invoke(main, sys.argv[1:])\n"
        "assert result.exit_code == 0, result.output\n"
        "assert 'Usage' in result.output, result.output\n"
        f"print(sorted(set({sorted(HEAVY)!r}) & set(sys.modules)))\n"
    )
    for arguments in (["--help"], ["build", "--help"]):
        run = subprocess.run(
            [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout.strip() == "[]"


def test_importing_every_module_prints_and_loads_nothing_heavy():
    script = (
        "import importlib, sys\n"
        f"for name in {sorted(MODULES.keys() - {LAYERS})!r}: importlib.import_module(name)\n"
        f"print(sorted(set({sorted(HEAVY)!r}) & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "[]", "")
