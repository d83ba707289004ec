"""The structure of the project: imports, names, shipped configs, and the cost of `--help`."""

from __future__ import annotations

import ast
import functools
import re
import resource
import runpy
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from personakit.config import config_files, load, walk
from personakit.config.training import DEFAULT_MODEL
from personakit.methods import METHODS

ROOT = Path(__file__).parent.parent
HEAVY = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "pyarrow",
    "sklearn",
    "scipy",
    "numpy",
    "omegaconf",
)


def command_paths() -> list[tuple[str, ...]]:
    """Every command and group, as the words after `personakit`."""
    import typer

    from personakit.cli.app import command_tree

    def below(command: object, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        found = [path]
        for name, child in getattr(command, "commands", {}).items():
            found += below(child, (*path, name))
        return found

    return below(typer.main.get_command(command_tree()), ())


def test_packages_import_only_from_lower_layers() -> None:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def module_files() -> dict[str, Path]:
    """Every module of the package, by its dotted name."""
    files = {}
    for path in sorted((ROOT / "personakit").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def imported_modules(tree: ast.Module, modules: dict[str, Path]) -> Iterator[str]:
    """The modules of the package that a file imports, at any place: in functions and for type checking, too.

    `from package import name` counts as an import of `package.name` if that is a module, else of `package`,
    whose `__init__` then imports what it re-exports.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                name = submodule if submodule in modules else node.module
                if name in modules:
                    yield name


def find_cycle(imports: dict[str, set[str]]) -> list[str]:
    """An import cycle as a path, or an empty list (depth-first search)."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for imported in sorted(imports[module]):
            if cycle := visit(imported, [*path, module]):
                return cycle
        done.add(module)
        return []

    return next((cycle for module in imports if (cycle := visit(module, []))), [])


def test_no_import_cycle_between_files() -> None:
    modules = module_files()
    imports = {
        module: set(imported_modules(ast.parse(path.read_text(encoding="utf-8")), modules)) - {module}
        for module, path in modules.items()
    }
    assert find_cycle(imports) == []


def test_find_cycle_finds_a_cycle() -> None:
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


MAX_PARAMETERS = 10


def long_signatures() -> Iterator[str]:
    """Functions of the package with more than `MAX_PARAMETERS` parameters, without `self` and `cls`."""
    for module, path in module_files().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                arguments = node.args
                names = [
                    each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
                ]
                if len([name for name in names if name not in ("self", "cls")]) > MAX_PARAMETERS:
                    yield f"{module}.{node.name}"


def test_no_function_has_more_than_ten_parameters() -> None:
    assert list(long_signatures()) == []


def test_no_class_name_occurs_twice() -> None:
    counts = Counter(
        node.name
        for path in module_files().values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("name", sorted(config_files()))
def test_every_shipped_config_is_loaded_and_says_how_to_launch_it(name: str) -> None:
    method, _, short = name.partition("/")
    path = config_files()[name]
    load(METHODS[method].settings, path)
    header = path.read_text(encoding="utf-8").split("\n\n")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert f"train {method}" in header
    assert short == DEFAULT_MODEL or f"--config {short}" in header


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_setting_has_a_help_text_and_a_provenance(method: str) -> None:
    for known in walk(METHODS[method].settings):
        assert known.help, known.key
        assert known.provenance.startswith(("stated by the paper", "borrowed from ", "our choice")), known.key


@pytest.mark.parametrize("path", command_paths(), ids=" ".join)
def test_every_option_is_documented(path: tuple[str, ...]) -> None:
    import typer

    from personakit.cli.app import command_tree

    command = typer.main.get_command(command_tree())
    for name in path:
        command = command.commands[name]
    assert command.help
    for parameter in command.params:
        assert parameter.help, f"{' '.join(path)}: {parameter.name}"


def test_help_imports_nothing_heavy() -> None:
    """All commands' help in one process: it would import everything that any single one does."""
    program = f"""
import sys
from personakit.cli import main
for path in {command_paths()!r}:
    assert main([*path, "--help"]) == 0
heavy = [name for name in {HEAVY!r} if name in sys.modules]
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_help_costs_less_than_twice_that_of_an_app_of_one_command() -> None:
    """In processor time, because a test shares its cores; the best of three calls of each."""

    def seconds(*arguments: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    smallest = "import typer; app = typer.Typer(); app.command()(lambda: None); app(['--help'])"
    pairs = [
        (seconds("-m", "personakit", "train", "rpo", "--help"), seconds("-c", smallest)) for _ in range(3)
    ]
    ours, theirs = (min(each) for each in zip(*pairs, strict=True))
    assert ours < 2 * theirs


def test_the_reference_page_is_current() -> None:
    reference = runpy.run_path(str(ROOT / "scripts" / "cli_reference.py"))["reference"]

    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == reference(), "run `make docs`"


def test_tables_of_the_evidence_are_those_of_its_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    evidence = runpy.run_path(str(ROOT / "benchmarks" / "evidence.py"))
    pages = {
        page: evidence["with_summary"](page, evidence["summary"]()) for page in evidence["SUMMARY_PAGES"]
    }
    for study in evidence["STUDIES"]:
        if evidence["cells_of"](study):
            pages[evidence["RESULTS"] / f"{study}.md"] = evidence["table"](study)
    for page, current in pages.items():
        (text, figures), (written, known) = map(without_figures, (current, page.read_text(encoding="utf-8")))
        assert text == written, f"{page}: run `python benchmarks/evidence.py` with --table and --summary"
        assert figures == pytest.approx(known, abs=0.0011), page  # another processor may round otherwise


def without_figures(text: str) -> tuple[str, list[float]]:
    """A table without its figures and bold type, and the figures."""
    figure = r"[+-]?\d+\.\d{3}\b"
    return re.sub(figure, "", text.replace("**", "")), [float(each) for each in re.findall(figure, text)]


def page_name(page: Path) -> str:
    """A page's path in the project."""
    return page.relative_to(ROOT).as_posix()


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "examples" / "README.md"])


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_into_a_page_lead_to_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https:)([^)#]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        linked = (page.parent / target) if target else page
        assert anchor in anchors(linked.read_text(encoding="utf-8")), f"{target}#{anchor}"


def anchors(text: str) -> set[str]:
    """The names that GitHub gives a page's headings."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_in_the_pages_exist_with_their_options(page: Path) -> None:
    known = {path: options_of(path) for path in command_paths()}
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"(?:^|-m |`|\| )(personakit (?!-)[a-z].*?)(?:`|$)", text, flags=re.MULTILINE):
        words = line.split("  #")[0].split()[1:]
        if "|" in words or any(word.startswith("[") for word in words):
            continue  # a synopsis, not a call
        path = next((p for p in (tuple(words[:2]), tuple(words[:1])) if p in known), None)
        assert path is not None, line
        for word in words:
            if word.startswith("--"):
                assert word.split("=")[0] in known[path], line


@functools.cache
def options_of(path: tuple[str, ...]) -> set[str]:
    """The options of one command."""
    import typer

    from personakit.cli.app import command_tree

    command = typer.main.get_command(command_tree())
    for name in path:
        command = command.commands[name]
    names = [(*each.opts, *each.secondary_opts) for each in command.params]  # the second of --yes/--no too
    return {"--help", *(option for some in names for option in some)}


#: Documents that are not part of the project; what it needs of them is in docs/methods.md and docs/data.md.
OUTSIDE = re.compile(r"\b(?:METHODS|DESIGN|STYLE|FIELD_NOTES|LAMP|LaMP)\.md\b|\.\./shared")


def test_no_file_cites_a_document_outside_the_project() -> None:
    folders = ("personakit", "docs", "configs", "benchmarks", "examples", "scripts")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    files += [*ROOT.glob("*.md"), ROOT / "pyproject.toml", ROOT / "Makefile"]
    cited = [
        f"{path.relative_to(ROOT)}: {found.group()}"
        for path in files
        if path.suffix in {".py", ".md", ".yaml", ".sh", ".toml", ".cff", ".txt", ""} and path.is_file()
        for found in OUTSIDE.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not cited


def test_the_papers_are_cited_by_the_same_numbers() -> None:
    """Each method's arXiv number is the same on its page, in docs/methods.md, README and CITATION.cff."""
    numbers = {"rpo": "2511.05286", "popi": "2510.17881", "pillow": "2312.05621"}
    for method, number in numbers.items():
        for page in (f"docs/{method}.md", "docs/methods.md", "README.md", "CITATION.cff"):
            assert number in (ROOT / page).read_text(encoding="utf-8"), page
