"""The house plan, enforced: who may import whom, one noun a file, a twin test for each."""

from __future__ import annotations

import ast
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("model", "service", "loadtests")
MAX_LINES = 300

ONLY_IN = {
    "torch": {"service/runtime.py"},
    "redis": {"service/redis_calls.py"},
    "prometheus_client": {"service/metrics.py", "service/bundle_metrics.py", "service/shadow_metrics.py"},
    "opentelemetry": {"service/tracing.py"},
    "fastapi": {"service/app.py", "service/routes.py", "service/openinference.py"},
}
"""Inside service/, each of these libraries is known to so many files and no more."""

BUILDS_BUNDLES = {"loadtests/faults/bundles.py"}
"""Outside the benchmarks: what makes bundles that misbehave."""

NEVER_IN_MODEL = {"service", "fastapi", "starlette", "uvicorn", "redis", "prometheus_client", "httpx", "loadtests"}


def sources(package: str) -> list[Path]:
    """The package's tracked or new Python files."""
    return sorted(path for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path, *, runtime_only: bool = False) -> set[str]:
    """Dotted names that a file imports; `from a import b` counts as a and a.b."""
    tree = ast.parse(path.read_text())
    skipped: set[ast.AST] = set()
    if runtime_only:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                skipped.update(child for statement in node.body for child in ast.walk(statement))
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def top(names: set[str]) -> set[str]:
    """The first part of each dotted name."""
    return {name.split(".")[0] for name in names}


def relative(path: Path) -> str:
    """The path as the rules above write it."""
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", sources("model"), ids=relative)
def test_model_knows_nothing_of_serving(path: Path) -> None:
    """model/ imports neither the service nor what only a service needs."""
    assert not top(imports(path)) & NEVER_IN_MODEL


@pytest.mark.parametrize("path", sources("service"), ids=relative)
def test_service_knows_of_model_only_the_bundle(path: Path) -> None:
    """Of model/, service/ imports model.bundle and nothing else."""
    used = {name for name in imports(path) if name.split(".")[0] == "model"}

    assert all(name == "model.bundle" or name.startswith("model.bundle.") or name == "model" for name in used), used
    assert "model" not in used or "model.bundle" in used


@pytest.mark.parametrize("library", ONLY_IN)
def test_each_library_has_its_only_files(library: str) -> None:
    """torch, redis, prometheus and fastapi are each known to the files named above and to no other."""
    users = {relative(path) for path in sources("service") if library in top(imports(path))}

    assert users <= ONLY_IN[library]


@pytest.mark.parametrize("path", sources("loadtests"), ids=relative)
def test_load_tests_use_the_public_surface(path: Path) -> None:
    """loadtests/ imports service.schemas and service.codec only; its benchmarks may import anything, and the faults'
    own Redis is found as the embedded one is."""
    if path.name.startswith("bench_") or relative(path) in BUILDS_BUNDLES:
        return
    used = {name for name in imports(path) if name.split(".")[0] in ("service", "model")}
    if path.parent.name == "faults":
        used = {name for name in used if not name.startswith("service.embedded_redis")}

    assert all(re.fullmatch(r"service|service\.(schemas|codec)(\..*)?", name) for name in used), used


UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
UNPICKLING = {"torch.load", "np.load", "numpy.load", "np.fromfile", "eval", "exec", "pd.read_pickle", "__import__"}


@pytest.mark.parametrize("path", [*sources("service"), *sources("model/bundle")], ids=relative)
def test_the_service_unpickles_nothing(path: Path) -> None:
    """Reading a file never runs code that the file brings along; TorchScript, verified first, is the one exception."""
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}

    assert not top(imports(path)) & UNPICKLERS
    assert not calls & UNPICKLING
    assert "torch.jit.load" not in calls or relative(path) == "service/runtime.py"


def test_no_import_cycles() -> None:
    """Following run-time imports never leads back to where one started."""
    modules = {relative(p).removesuffix(".py").replace("/", "."): p for package in PACKAGES for p in sources(package)}
    graph = {
        name: {used for used in imports(path, runtime_only=True) if used in modules and used != name}
        for name, path in modules.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for used in graph[name]:
                visit(used, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", [p for d in (*PACKAGES, "tests") for p in sources(d)], ids=relative)
def test_a_file_is_one_noun(path: Path) -> None:
    """No file outgrows three hundred lines."""
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", [p for d in PACKAGES for p in sources(d) if p.name != "__init__.py"], ids=relative)
def test_every_file_has_a_twin_test(path: Path) -> None:
    """service/codec.py has tests/service/test_codec.py, and so on."""
    name = "main" if path.name == "__main__.py" else path.stem
    twin = ROOT / "tests" / path.relative_to(ROOT).parent / f"test_{name}.py"

    assert twin.is_file()


@pytest.mark.parametrize("path", [p for p in sources("tests") if p.name.startswith("test_")], ids=relative)
def test_every_test_says_what_it_shows(path: Path) -> None:
    """Each test function has a docstring, one sentence or more."""
    silent = [
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]

    assert silent == []


@pytest.mark.parametrize("path", [p for d in PACKAGES for p in sources(d)], ids=relative)
def test_every_module_says_its_job(path: Path) -> None:
    """Each module opens with what it is for; an empty package file has nothing to say."""
    text = path.read_text()

    assert not text.strip() or ast.get_docstring(ast.parse(text))


def test_nothing_is_tracked_that_is_data() -> None:
    """No data set, artifact or log is in the repository."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    odd = [name for name in tracked if re.search(r"\.(pt|pth|safetensors|csv|tsv|parquet|dat|rdb|aof|log|pyc)$", name)]

    assert odd == []


def test_changelog_leads_with_the_version() -> None:
    """pyproject's version is the changelog's newest."""
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    headings = re.findall(r"^## \[?([\w.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert version
    assert version[1] in headings[:2]
    numbered = [tuple(map(int, heading.split("."))) for heading in headings if heading[0].isdigit()]
    assert all(newer > older for newer, older in pairwise(numbered))
