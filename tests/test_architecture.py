"""The house keeps its shape: imports go downwards, modules stay small, and `import jaxnn` stays light."""

import ast
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jaxnn

ROOT = Path(jaxnn.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

MATHEMATICS = {
    *("activations", "losses", "metrics", "functional", "initializers", "augmentation", "optimizers", "schedules"),
    "backprop",
}
GROUND = {"types", "checks", "tree", "files"}
# From top to bottom; a room imports what is below it, and its own modules.
ORDER = [
    *({"__main__"}, {"commands"}, {"interop"}, {"report"}, {"training"}, {"data"}, {"models"}, {"layers"}),
    *(MATHEMATICS, GROUND),
]
EXCEPTIONS = {"training": {"models", "optimizers"}}  # trained models and optimizers are values that are passed in
HEAVY = {"optax", "flax", "orbax", "rich", "matplotlib", "tensorflow_datasets", "sklearn", "jinja2", "PIL"}
HEAVY |= {"equinox", "torch", "grain", "array_record"}


def level(room: str) -> int:
    return next((i for i, rooms in enumerate(ORDER) if room in rooms), -1)


def imported(source: str) -> set[str]:
    """Return the full names that a module imports, wherever the import stands in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def wrong_imports(room: str, source: str) -> list[str]:
    """Return the imports that a module of this room must not have."""
    wrong = []
    for name in sorted(imported(source)):
        top, *rest = name.split(".")
        if top in {"experiments", "benchmarks", "tests"}:
            wrong.append(name)
        elif top == "jaxnn" and rest and room != "__init__":
            other = rest[0]
            if other in {"__version__", room}:
                continue
            same_level = level(other) == level(room) and len(ORDER[level(room)]) > 1
            if (level(other) <= level(room) and not same_level) or other in EXCEPTIONS.get(room, ()):
                wrong.append(name)
    return wrong


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards(path):
    assert wrong_imports(room_of(path), path.read_text()) == []


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("layers", "from jaxnn.models import mlp"),
        ("layers", "from jaxnn import training"),
        ("training", "from jaxnn.models import mlp"),
        ("training", "import jaxnn.optimizers"),
        ("training", "from jaxnn import report"),
        ("checks", "from jaxnn.functional import wide"),
        ("losses", "from jaxnn.layers import linear"),
        ("data", "from jaxnn.training.state import run_keys"),
        ("data", "def f():\n    from jaxnn import report"),
        ("report", "from experiments.mnist import main"),
        ("types", "import benchmarks"),
        ("report", "from jaxnn.interop.torch import from_torch"),
        ("training", "from jaxnn import interop"),
    ],
)
def test_the_checker_finds_an_upward_import(room, line):
    assert len(wrong_imports(room, line)) == 1


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("layers", "from jaxnn.functional import wide"),
        ("losses", "from jaxnn import checks, functional"),
        ("checks", "from jaxnn.types import Layer"),
        ("training", "from jaxnn.data import Dataset\nfrom jaxnn.metrics import accuracy\nimport optax"),
        ("report", "from jaxnn.training import fit"),
        ("__main__", "from jaxnn.report import summary"),
        ("interop", "from jaxnn.training.weights import read_arrays"),
    ],
)
def test_the_checker_passes_a_downward_import(room, line):
    assert wrong_imports(room, line) == []


def test_every_module_has_its_place():
    rooms = {room_of(path) for path in MODULES} - {"__init__"}
    assert {room for room in rooms if level(room) < 0} == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_small_and_have_names(path):
    assert len(path.read_text().splitlines()) <= 300
    assert not {"utils", "base", "common", "helpers", "_src"} & set(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_pickle_and_no_evaluation_of_strings(path):
    source = path.read_text()
    assert "pickle" not in {name.split(".")[0] for name in imported(source)}
    called = {node.func.id for node in ast.walk(ast.parse(source)) if is_call_of_a_name(node)}
    assert not {"eval", "exec", "compile", "__import__"} & called
    assert not re.search(r"allow_pickle\s*=\s*True", source)


def is_call_of_a_name(node):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def modules():
    names = [info.name for info in pkgutil.walk_packages([str(ROOT)], "jaxnn.") if not info.name.endswith("__main__")]
    return [importlib.import_module(name) for name in ["jaxnn", *names]]


def test_import_jaxnn_loads_no_module_of_it():
    program = "import sys, jaxnn; print([name for name in sys.modules if name.startswith(('jaxnn.', 'jax.'))])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("package", ["jaxnn", "jaxnn.training"])
def test_what_the_stub_says_is_what_the_package_gives(package):
    """Each name of `__init__.pyi` is there, as its own module has it; `fit` is no module, whatever came before it."""
    module = importlib.import_module(package)
    stub = ast.parse(Path(module.__file__ or "").with_suffix(".pyi").read_text())
    says = [node for node in stub.body if isinstance(node, ast.Assign)]
    assert set(ast.literal_eval(says[0].value)) == set(module.__all__) <= set(dir(module))
    for node in ast.walk(stub):
        if isinstance(node, ast.ImportFrom) and node.module:
            home = importlib.import_module(f"{package}.{node.module}")
            for alias in node.names:
                assert getattr(module, alias.name) is getattr(home, alias.name)
                assert not inspect.ismodule(getattr(module, alias.name))


def test_every_module_imports_light():
    """In a process of its own, one module after another; what is heavy loads where it is used."""
    names = [module.__name__ for module in modules()]
    program = (
        "import importlib, json, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"print(json.dumps(sorted({HEAVY!r} & sys.modules.keys())))"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert json.loads(output) == []


def public(kind):
    """Return (module.name, object) of what modules define themselves under names without an underscore."""
    return [
        (f"{module.__name__}.{name}", thing)
        for module in modules()
        for name, thing in vars(module).items()
        if kind(thing) and not name.startswith("_") and getattr(thing, "__module__", "") == module.__name__
    ]


# Documented in words alone, as is `checks`, where each function refuses what its first line says.
WITHOUT_EXAMPLE = {
    # They need compiled programs, and are the inside of `fit` and `evaluate`, whose examples run them.
    *("jaxnn.training.loop.compile_programs", "jaxnn.training.loop.train", "jaxnn.training.epoch.no_progress"),
    *("jaxnn.training.evaluation.evaluation_step", "jaxnn.training.evaluation.check_labels"),
    # They are the inside of `fit_many`, in the same way.
    *("jaxnn.training.sweep_loop.start_chunk", "jaxnn.training.sweep_loop.train_chunk"),
    "jaxnn.training.sweep_programs.compile_members",
    # They need a network, a machine's folders, or a prepared set.
    *("jaxnn.data.download.download", "jaxnn.data.download.unreachable", "jaxnn.data.prepared.from_tfds"),
    *("jaxnn.data.folders.data_folder", "jaxnn.data.folders.user_cache_folder"),
    # They are the colours and bytes of a figure.
    *("jaxnn.report.theme.color_scale", "jaxnn.report.theme.colors", "jaxnn.report.theme.png"),
}


def test_everything_public_is_documented():
    functions = public(inspect.isfunction)
    assert len(functions) > 60
    assert [name for name, thing in functions + public(inspect.isclass) if not inspect.getdoc(thing)] == []
    examples = {name for name, thing in functions if ">>>" in (inspect.getdoc(thing) or "")}
    lacking = {name for name, _ in functions} - examples - WITHOUT_EXAMPLE
    assert {name for name in lacking if not name.startswith("jaxnn.checks.")} == set()


def test_the_list_of_exceptions_is_not_longer_than_it_must_be():
    examples = {name for name, thing in public(inspect.isfunction) if ">>>" in (inspect.getdoc(thing) or "")}
    assert WITHOUT_EXAMPLE & examples == set()
    assert {name for name, _ in public(inspect.isfunction)} >= WITHOUT_EXAMPLE


def test_classes_are_values():
    """NamedTuples, frozen dataclasses, Protocols and exceptions; nothing else."""
    for name, thing in public(inspect.isclass):
        frozen = getattr(getattr(thing, "__dataclass_params__", None), "frozen", False)
        named_tuple = issubclass(thing, tuple) and hasattr(thing, "_fields")
        protocol = getattr(thing, "_is_protocol", False)
        assert frozen or named_tuple or protocol or issubclass(thing, BaseException), name
