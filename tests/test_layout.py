"""Imports go one way, nothing heavy is imported early, and names say what a module is about."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from restnet_tf.methods import METHODS
from restnet_tf.points.points import ANCHOR, CASCADE, CONTROL, STITCHED

ROOT = Path(__file__).resolve().parents[1]
INSTALLED = ("restnet_tf", "tflite_export")
PACKAGES = (*INSTALLED, "benchmarks")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
HEAVY = {"tensorflow", "keras", "sklearn", "matplotlib", "ai_edge_litert", "scipy", "torch", "mlflow", "tensorboard"}
# Holds a Keras layer, so it imports Keras, and others import it in functions only.
LAYERS = "restnet_tf.graph.tokens"
# What these do to a process (they set TF_USE_LEGACY_KERAS) stays in a process of its own.
LEGACY = {"tf_keras", "tensorflow_model_optimization"}
HEAVY |= LEGACY | {"dask", "distributed"}


@dataclass(frozen=True)
class Import:
    """One name that a module imports: at its top level, in a function, or for type checks alone."""

    target: str
    where: str  # "top", "function" or "types"


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in FILES}


@dataclass(frozen=True)
class Source:
    """What the tests look at of one file."""

    imports: tuple[Import, ...]
    types: dict[str, bool]
    words: frozenset[str]
    docstring: str

    @property
    def targets(self) -> set[str]:
        return {found.target for found in self.imports}


@cache
def source_of(path: Path) -> Source:
    """Parsed once for all tests; the tree itself, of half a million nodes for all files, is not kept."""
    module = ast.parse(path.read_text())
    kinds = types(module_name(path), module)
    return Source(tuple(imports(module)), kinds, frozenset(words(module)), ast.get_docstring(module) or "")


def imports(module: ast.Module) -> list[Import]:
    return list(_imports(module, "top"))


# Where statements, which imports are, hold others; nine of ten nodes are expressions.
HELD = {"body", "orelse", "finalbody", "handlers", "cases"}


def _imports(node: ast.AST, where: str) -> Iterator[Import]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        where = "function" if where == "top" else where
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, where) for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        assert not node.level, "relative imports hide where they go"
        yield from (Import(f"{node.module}.{alias.name}", where) for alias in node.names)
    typed = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    for name in (field for field in node._fields if field in HELD):
        for child in getattr(node, name):
            yield from _imports(child, "types" if typed and name == "body" else where)


def package(target: str) -> str:
    return target.split(".")[0]


def targets(path: Path) -> set[str]:
    return source_of(path).targets


def test_the_reader_of_imports_sees_all_kinds():
    source = (
        "import a.b\nfrom c import d\nif TYPE_CHECKING:\n    import e\nelse:\n    import f\n"
        "def g():\n    from h import i\nclass J:\n    import k\ntry:\n    import m\nexcept ImportError:\n    pass\n"
    )
    assert imports(ast.parse(source)) == [
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


# The house of restnet_tf: what each room may import, beside itself and all that the rooms it names may.
BELOW = {
    "records": (),
    "progress": (),
    "atomic": ("records",),
    "schema": ("records",),
    "words": ("records",),
    "graph": ("records",),
    "data": ("records",),
    "anchors": ("graph", "data", "atomic"),
    "stitches": ("graph", "data"),
    "tfmot": ("graph",),
    "fitting": ("anchors", "stitches"),
    "similarity": ("anchors", "stitches"),
    "run": ("fitting", "similarity", "progress", "schema", "words"),
    "work": ("fitting", "similarity", "progress", "schema"),
    "points": ("schema",),
    "cascades": ("points",),
    "report": ("points", "words"),
    "family": ("run", "work", "cascades", "points", "report"),
    "methods": ("family",),
    "commands": ("methods", "tfmot"),
    "cli": ("commands",),
    "__init__": ("commands",),
}
# Rooms that work on files or speak of them, and may use what knows nothing of restnet_tf; of it all may raise the
# errors and keep records.
ON_FILES = {"words", "work", "points", "cascades", "report", "family", "methods", "commands", "cli", "__init__"}
FOR_ALL = {"tflite_export.errors", "tflite_export.inputs", "tflite_export.schema"}


def room(name: str) -> str:
    return [*name.split("."), "__init__"][1]


@cache
def reachable(place: str) -> frozenset[str]:
    return frozenset({place}).union(*(reachable(below) for below in BELOW[place]))


def against_the_rule(name: str, target: str) -> bool:
    """Whether a module may not import another one."""
    here, there = package(name), package(target)
    if here == "tflite_export" or there == "benchmarks":
        return here != there
    if here == "benchmarks":
        return False  # scripts for people, imported by nothing
    if there == "tflite_export":
        return room(name) not in ON_FILES and target not in FOR_ALL
    methods = [n.split(".")[2] for n in (name, target) if n.startswith("restnet_tf.methods.") and n.count(".") > 2]
    return room(target) not in reachable(room(name)) or len(set(methods)) > 1


def test_the_rule_has_no_circle_and_knows_every_room():
    assert {room(n) for n in MODULES if package(n) == "restnet_tf"} == set(BELOW)
    assert cycle({place: set(below) for place, below in BELOW.items()}) == []


def test_the_rule_refuses_what_it_should():
    assert against_the_rule("restnet_tf.graph.cuts", "restnet_tf.anchors.zoo")
    assert against_the_rule("restnet_tf.methods.snnet.method", "restnet_tf.methods.restnet.plan")
    assert against_the_rule("restnet_tf.graph.cuts", "tflite_export.link")
    assert against_the_rule("tflite_export.link", "restnet_tf.records")
    assert against_the_rule("restnet_tf.commands.build", "benchmarks.linking")
    assert not against_the_rule("restnet_tf.graph.cuts", "tflite_export.errors")
    assert not against_the_rule("restnet_tf.cli.main", "restnet_tf.graph.cuts")
    assert not against_the_rule("restnet_tf.methods.snnet.method", "restnet_tf.methods.snnet.routes")


def test_imports_go_down_the_house():
    """Those for type checks too."""
    wrong = {
        f"{name} imports {module}"
        for name, path in MODULES.items()
        for target in targets(path)
        if (module := known(target)) and module != name and against_the_rule(name, module)
    }
    assert sorted(wrong) == []


def test_nothing_heavy_is_imported_at_the_top():
    early = {
        f"{name} imports {found.target}"
        for name, path in MODULES.items()
        for found in source_of(path).imports
        if name != LAYERS
        and found.where == "top"
        and (package(found.target) in HEAVY or found.target.startswith(LAYERS))
    }
    assert sorted(early) == []


def test_legacy_keras_and_ours_meet_in_no_module():
    assert [n for n, path in MODULES.items() if {package(t) for t in targets(path)} & LEGACY] == [
        "restnet_tf.tfmot.worker"
    ]


def test_the_worker_knows_nothing_of_the_project_but_what_needs_nothing_of_it():
    alone = {"restnet_tf.tfmot.grids", "restnet_tf.graph.gradients"}
    ours = {known(t) or t for t in targets(MODULES["restnet_tf.tfmot.worker"]) if package(t) in (*PACKAGES, "keras")}
    assert ours == alone
    assert not [t for name in alone for t in targets(MODULES[name]) if package(t) in (*PACKAGES, "keras")]


def test_names_say_what_a_module_is_about():
    vague = {"utils", "util", "common", "helpers", "helper", "manager", "misc", "tools"}
    assert not [name for name in MODULES if vague & set(name.split("."))]


# Each method brings options of its own under the one name that ``restnet_tf.methods.options`` takes them by.
OF_EVERY_METHOD = re.compile(r"restnet_tf\.methods\.\w+\.options\.Options")


def types(name: str, module: ast.Module) -> dict[str, bool]:
    """The public types at a module's top, by their whole names: whether each is a protocol."""
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    return {
        f"{name}.{node.name}": any("Protocol" in ast.dump(base) for base in node.bases)
        for node in classes
        if not node.name.startswith("_")
    }


def doubles(protocols: dict[str, bool]) -> dict[str, list[str]]:
    """Types that share their last name with another.

    A protocol may have that of a type in another package, which cannot be imported there: it is the outside of it.
    """
    by_name: dict[str, list[str]] = {}
    for name in protocols:
        by_name.setdefault(name.rpartition(".")[2], []).append(name)
    return {short: names for short, names in by_name.items() if len(names) > 1 and not _outside(names, protocols)}


def _outside(names: list[str], protocols: dict[str, bool]) -> bool:
    real = [name for name in names if not protocols[name]]
    return len(real) <= 1 and len({package(name) for name in names}) == len(names)


def test_no_two_types_share_a_name():
    every = {n: p for name, path in MODULES.items() for n, p in source_of(path).types.items()}
    assert len(every) > 150
    assert doubles({n: p for n, p in every.items() if not OF_EVERY_METHOD.fullmatch(n)}) == {}


def test_types_that_share_a_name_are_found():
    source = ast.parse("class Joint:\n    class Inner: pass\nclass _Joint: pass\nclass Step(Protocol): pass\n")
    joint, step = ast.parse("class Joint: pass"), ast.parse("class Step: pass")
    assert types("one.a", source) == {"one.a.Joint": False, "one.a.Step": True}
    assert doubles(types("one.a", source) | types("one.b", joint)) == {"Joint": ["one.a.Joint", "one.b.Joint"]}
    assert doubles(types("one.a", source) | types("two.b", joint)) != {}
    assert doubles(types("one.a", source) | types("two.b", step)) == {}
    assert doubles(types("one.a", source) | types("one.b", step)) == {"Step": ["one.a.Step", "one.b.Step"]}


def test_long_files_say_why():
    """In their first comment or docstring, by the word "lines"."""
    long = {n: path for n, path in MODULES.items() if len(path.read_text().splitlines()) > 400}
    assert [n for n, path in long.items() if "lines" not in source_of(path).docstring] == []


def test_what_conftest_begins_with_is_there():
    tests = ROOT / "tests"
    (listed,) = [
        ast.literal_eval(node.value)
        for node in ast.parse((tests / "conftest.py").read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_LONGEST"
    ]
    assert listed
    assert [name for name in listed if not (tests / name).is_file()] == []


def test_methods_hold_methods_alone():
    folder = ROOT / "restnet_tf" / "methods"
    assert [p.name for p in folder.glob("*.py")] == ["__init__.py"]
    folders = [p for p in folder.iterdir() if p.is_dir() and p.name != "__pycache__"]
    assert all((p / part).is_file() for p in folders for part in ("method.py", "options.py"))
    assert {p.name for p in folders} == set(METHODS)


def words(module: ast.Module) -> set[str]:
    """The texts that a program holds."""
    return {n.value for n in ast.walk(module) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def test_one_table_names_the_methods():
    """A branch on the name of one would be a second table; what differs stands in the method's folder."""
    kinds = {ANCHOR, STITCHED, CONTROL, CASCADE}  # of points: one is called as the method that makes nothing else
    names = set(METHODS) - kinds
    named = {name: names & source_of(path).words for name, path in MODULES.items()}
    assert {name: methods for name, methods in named.items() if methods} == {"restnet_tf.methods": names}
    assert words(ast.parse("if name in {'snnet', *others}: pass")) == {"snnet"}


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
    """Not even of imports for type checks or inside functions."""
    graph = {
        name: {module for target in targets(path) if (module := known(target)) and module != name}
        for name, path in MODULES.items()
    }
    assert sum(len(followers) for followers in graph.values()) > 50  # the graph is there to be looked at
    assert cycle(graph) == []


def test_data_sources_and_images_import_one_way():
    local = {n: {known(t) for t in targets(MODULES[f"restnet_tf.data.{n}"])} for n in ("images", "arrays", "sources")}
    above = {"restnet_tf.data.splits", "restnet_tf.data.sources"}
    assert not local["images"] & above
    assert not local["arrays"] & above
    assert "restnet_tf.data.splits" not in local["sources"]


def test_two_names_are_installed_with_all_they_need():
    """Every package, the report's page, and what is copied to devices; nothing that only the source needs."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {name: ROOT / path for name, path in settings["package-dir"].items()}
    packages = {
        module_name(path) for path in FILES if path.name == "__init__.py" and package(module_name(path)) != "benchmarks"
    }
    assert set(settings["packages"]) == packages | set(folders)
    packed = set()
    for name, patterns in settings["package-data"].items():
        packed |= {path for pattern in patterns for path in folders.get(name, ROOT / name).glob(pattern)}
    written = [ROOT / "tflite_export" / "plainc" / part for part in ("kernels", "templates")]
    parts = [*folders.values(), ROOT / "restnet_tf" / "report" / "page", *written]
    there = {
        path for folder in parts for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(there) > 5
    assert {path for path in packed if path.is_file()} == there | {ROOT / name / "py.typed" for name in INSTALLED}


def test_help_answers_without_tensorflow():
    script = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from restnet_tf.cli.main import main\n"
        "result = CliRunner().invoke(main, sys.argv[1:])\n"
        "assert result.exit_code == 0, result.output\n"
        "assert 'Usage' in result.output, result.output\n"
        f"print(sorted(set({sorted(HEAVY)!r}) & set(sys.modules)))\n"
    )
    for arguments in (["--help"], ["build", "--help"]):
        run = subprocess.run(
            [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout.strip() == "[]"


def test_importing_every_module_prints_and_loads_nothing_heavy():
    script = (
        "import importlib, sys\n"
        f"for name in {sorted(MODULES.keys() - {LAYERS})!r}: importlib.import_module(name)\n"
        f"print(sorted(set({sorted(HEAVY)!r}) & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "[]", "")
