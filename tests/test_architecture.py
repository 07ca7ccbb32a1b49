"""The shape of the project: who may import whom, what an import may do, where files stand.

An exception is written here with its reason, and one that is no longer needed fails too.
"""

from __future__ import annotations

import ast
import fnmatch
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("schemas", "pipeline", "jobs")
TOP_LEVEL = {
    ".ci", ".dockerignore", ".gitignore", "CHANGELOG.md", "Makefile", "README.md", "benchmarks",
    "docker", "docs", "examples", "jobs", "pipeline", "pyproject.toml", "requirements.lock",
    "schemas", "tests",
}  # fmt: skip

FORBIDDEN = {"schemas": {"pipeline", "jobs"}, "pipeline": {"jobs"}, "jobs": set()}
JOB_HELP = {
    "engine", "exits", "flags", "published_scan", "spec_io", "spec_yaml",
}  # fmt: skip
JOB_FACES = {"cli", "__main__"}

FILE_LINES, FILE_LINES_WITH_REASON = 300, 400
LONG_FILES: dict[str, str] = {}
FUNCTION_LINES = 40
LONG_FUNCTIONS: dict[str, str] = {}

UNTESTED = {
    "pipeline/stages/contract.py": "a protocol and a record; every stage's test holds it",
}
TOP_LEVEL_TESTS = {
    "test_add_an_analysis.py",
    "test_architecture.py",
    "test_chaos.py",
    "test_project.py",
}
TESTS_ACROSS = {
    "jobs/test_disk_faults.py": "a fault of the disk meets the store, the scan and the command",
    "jobs/test_object_store.py": "every command in a row, on a store that answers badly",
    "jobs/test_hostile_pictures.py": "bad files meet the listing, the decoder and the scan at once",
    "jobs/test_hostile_specs.py": "wrong specs meet the flags, the specs and every job's checks",
}

OPENING = {
    "glob", "iterdir", "mkdir", "open", "read_bytes", "read_text", "scandir", "touch", "unlink",
    "walk", "write_bytes", "write_text",
}  # fmt: skip
OPENING_OF_LIBRARIES = {"Image.open", "tarfile.open"}
"""Given bytes or a stream that is open, never a path."""

ANYWHERE = {"/", "/app", "/data", "/home", "/opt", "/runs", "/srv", "/tmp", "/usr", "/usr/local"}
"""Places that a file may name although this checkout, or its Python, happens to be there."""

IMPORT_ALL = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
"""

LIBRARIES = """
import fsspec.implementations.local, jinja2, numpy, pandas, PIL.Image, pyarrow.dataset
import pyarrow.parquet, pydantic, rich.progress, safetensors.torch, torch, torchvision, typer, yaml
"""

WATCH = """
import os, sys
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
WORK = {"os.mkdir", "os.rename", "os.remove", "subprocess.Popen", "socket.connect", "os.system"}
def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
    if event in WORK or (writes and arguments[0] != os.devnull):
        print("WORK", event, arguments[0])
sys.addaudithook(watch)
"""


def _sources(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def _name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def _module(file: Path) -> str:
    return _name(file).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _modules(*folders: str) -> list[str]:
    return [_module(file) for file in _sources(*folders) if file.stem != "__main__"]


def _imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, inside functions too; ``from a import b`` gives a.b."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(file)}:{node.lineno} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _root(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def _opens(file: Path) -> Iterator[int]:
    """Lines that call ``open``, or a method that opens, lists or writes files, of no library."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        method = called.rpartition(".")[2] if "." in called else None
        if called == "open" or (method in OPENING and called not in OPENING_OF_LIBRARIES):
            yield node.lineno


def _run(code: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter whose home and working folder are ``folder``."""
    places = {"PYTHONPATH": str(ROOT), "HOME": str(folder), "TMPDIR": str(folder)}
    return subprocess.run(
        [sys.executable, "-B", "-c", code, *arguments],
        cwd=folder,
        env=os.environ | places,
        capture_output=True,
        text=True,
        check=False,
    )


def _ignored() -> list[str]:
    lines = (ROOT / ".gitignore").read_text().split()
    return [".git", *(line.strip("/") for line in lines)]


def _project_files() -> list[Path]:
    """Every text file of the project that git would keep."""
    ignored = _ignored()
    files = [ROOT / name for name in TOP_LEVEL if (ROOT / name).is_file()]
    for name in TOP_LEVEL:
        files += [file for file in (ROOT / name).rglob("*") if file.is_file()]
    return [
        file
        for file in files
        if not any(
            fnmatch.fnmatch(part, rule) for part in file.relative_to(ROOT).parts for rule in ignored
        )
    ]


def _functions(file: Path) -> Iterator[tuple[str, int]]:
    """Each function of a file as ``path:name`` with the lines of its body, docstring left out."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            yield f"{_name(file)}:{node.name}", lines


def _trivial(file: Path) -> bool:
    """Whether a file defines nothing: a package's docstring and the names that it hands on."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return not any(isinstance(node, kinds) for node in ast.walk(ast.parse(file.read_text())))


def _mirror(file: Path) -> str:
    """The test file of a source file, relative to tests/."""
    return (file.relative_to(ROOT).parent / f"test_{file.name}").as_posix()


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_of_a_package_point_downwards_only(package: str):
    wrong = [
        f"{_name(file)} imports {name}"
        for file in _sources(package)
        for name in _imports(file)
        if _root(name) in FORBIDDEN[package]
    ]

    assert wrong == []


def test_imports_of_a_job_name_no_other_job():
    wrong = [
        f"{_name(file)} imports {name}"
        for file in _sources("jobs")
        if file.stem not in JOB_FACES
        for name in _imports(file)
        if name.split(".")[0] == "jobs" and name.split(".")[1] not in JOB_HELP
    ]

    assert wrong == []


def test_ray_is_imported_under_runtime_only():
    wrong = [
        _name(file)
        for file in _sources(*PACKAGES)
        if not _name(file).startswith("pipeline/runtime/") and "ray" in map(_root, _imports(file))
    ]

    assert wrong == []


def test_io_imports_of_this_project_schemas_only():
    own = [
        f"{_name(file)} imports {name}"
        for file in _sources("pipeline/io")
        for name in _imports(file)
        if _root(name) in PACKAGES and not name.startswith(("schemas.", "pipeline.io"))
    ]

    assert own == []


def test_files_and_stores_of_a_data_set_or_a_run_are_opened_under_io_only():
    """fsspec nowhere else at all; in the rooms that read data and runs, no file either."""
    elsewhere = [file for file in _sources(*PACKAGES) if file.parent != ROOT / "pipeline" / "io"]
    fsspec = [_name(file) for file in elsewhere if "fsspec" in map(_root, _imports(file))]
    rooms = _sources("pipeline/data", "pipeline/store")
    opened = [f"{_name(file)}:{line}" for file in rooms for line in _opens(file)]

    assert fsspec == []
    assert opened == []


def test_schemas_in_a_fresh_process_load_nothing_heavy(tmp_path: Path):
    tell = "\nprint(*sorted({'torch', 'ray', 'pandas', 'torchvision'} & sys.modules.keys()))"

    done = _run(IMPORT_ALL + tell, *_modules("schemas"), folder=tmp_path)

    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_import_outside_runtime_needs_no_ray_and_does_no_work(tmp_path: Path):
    without_ray = "import sys; sys.modules['ray'] = None\n"
    names = [name for name in _modules(*PACKAGES) if not name.startswith("pipeline.runtime")]

    done = _run(without_ray + LIBRARIES + WATCH + IMPORT_ALL, *names, folder=tmp_path)

    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_import_of_the_runtime_starts_no_cluster(tmp_path: Path):
    tell = "\nprint('ray' in sys.modules and sys.modules['ray'].is_initialized())"

    done = _run(
        "import ray\n" + LIBRARIES + WATCH + IMPORT_ALL + tell,
        *_modules("pipeline/runtime"),
        folder=tmp_path,
    )

    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr


def test_the_watch_over_imports_sees_a_write(tmp_path: Path):
    done = _run(WATCH + "open('left', 'w')", folder=tmp_path)

    assert done.stdout.split() == ["WORK", "open", "left"]


def test_tests_mirror_the_sources_one_to_one():
    tests = {
        file.relative_to(ROOT / "tests").as_posix() for file in (ROOT / "tests").rglob("test_*.py")
    } - TOP_LEVEL_TESTS
    assert tests >= TESTS_ACROSS.keys()
    tests -= TESTS_ACROSS.keys()
    sources = {_mirror(file): file for file in _sources(*PACKAGES, "examples")}
    wanted = {
        test for test, file in sources.items() if not _trivial(file) and _name(file) not in UNTESTED
    }

    # Benchmarks measure and are not measured; what they compute with may have a test.
    measured = {_mirror(file) for file in _sources("benchmarks")}
    assert sorted(tests - sources.keys() - measured) == [], "tests of no source file"
    assert sorted(wanted - tests) == [], "source files without a test"


def test_exceptions_from_the_mirror_are_still_needed():
    untested = [
        _name(file)
        for file in _sources(*PACKAGES, "examples")
        if not _trivial(file) and not (ROOT / "tests" / _mirror(file)).is_file()
    ]

    assert [name for name in UNTESTED if name not in untested] == []


def test_files_are_short_or_listed_with_a_reason():
    lengths = {
        _name(file): len(file.read_text().splitlines())
        for file in _sources(*PACKAGES, "examples", "benchmarks")
    }

    assert {name for name, lines in lengths.items() if lines > FILE_LINES} == LONG_FILES.keys()
    assert max(lengths.values()) <= FILE_LINES_WITH_REASON


def test_functions_are_short_or_listed_with_a_reason():
    lengths = [
        found
        for file in _sources(*PACKAGES, "examples", "benchmarks")
        for found in _functions(file)
    ]

    assert {name: n for name, n in lengths if n > FUNCTION_LINES}.keys() == LONG_FUNCTIONS.keys()


def test_top_level_holds_what_the_design_says():
    found = {
        entry.name
        for entry in ROOT.iterdir()
        if not any(fnmatch.fnmatch(entry.name, rule) for rule in _ignored())
    }

    assert sorted(found - TOP_LEVEL) == []
    assert sorted(TOP_LEVEL - found) == []


def test_test_folders_are_no_packages():
    assert [_name(file) for file in (ROOT / "tests").rglob("__init__.py")] == []


def test_files_name_no_path_of_the_machine_that_made_them():
    places = {str(ROOT), str(ROOT.parent), str(Path.home()), sys.base_prefix} - ANYWHERE

    wrong = [
        f"{_name(file)} names {place}"
        for file in _project_files()
        for place in places
        if f"{place}/".encode() in file.read_bytes()
    ]

    assert wrong == []
