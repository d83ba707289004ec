"""What the wheel holds, and what the repository says of itself: version, citation, issue forms."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

from personakit import __version__

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built by the build backend itself: no environment of its own, no network."""
    folder = tmp_path_factory.mktemp("dist")
    program = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(folder / done.stdout.split()[-1])


def sources(folder: str) -> set[str]:
    """The files below `folder`, without what Python caches there."""
    found = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.as_posix() for path in found if "__pycache__" not in path.parts}


def test_the_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    assert sources("personakit") <= set(wheel.namelist())


def test_the_wheel_holds_every_shipped_config(wheel: zipfile.ZipFile) -> None:
    expected = {name.replace("configs/", "personakit/_configs/", 1) for name in sources("configs")}
    assert "personakit/_configs/rpo/smollm2.yaml" in expected
    assert expected <= set(wheel.namelist())


@pytest.mark.parametrize(
    "name",
    [
        "personakit/models/nano/weights/model.safetensors",
        "personakit/models/nano/weights/tokenizer.json",
        "personakit/models/voice/run/run.json",
        "personakit/models/voice/run/model/adapter_model.safetensors",
        "personakit/recipes/voice/content.yaml",
        "personakit/evaluation/report_page/report.html.j2",
        "personakit/py.typed",
    ],
)
def test_the_wheel_holds_what_runs_and_reports_need(wheel: zipfile.ZipFile, name: str) -> None:
    assert name in wheel.namelist()


def test_the_wheel_holds_nothing_but_the_package(wheel: zipfile.ZipFile) -> None:
    """Tests, benchmarks and examples stay out of site-packages."""
    assert {name.split("/")[0] for name in wheel.namelist()} == {"personakit", metadata_folder(wheel)}


def test_the_metadata_names_licence_authors_and_links(wheel: zipfile.ZipFile) -> None:
    metadata = Parser().parsestr(wheel.read(f"{metadata_folder(wheel)}/METADATA").decode())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Author"] == "The personakit authors"
    links = {url.split(",")[0] for url in metadata.get_all("Project-URL", [])}
    assert links == {"Homepage", "Repository", "Issues", "Changelog"}


def metadata_folder(wheel: zipfile.ZipFile) -> str:
    """The wheel's `.dist-info`."""
    return next(name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name)


def test_the_citation_and_the_changelog_name_the_version() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == __version__
    sections = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sections[:2] == ["Unreleased", __version__]


@pytest.mark.parametrize("form", ["bug_report", "feature_request"])
def test_an_issue_form_has_what_github_requires(form: str) -> None:
    """GitHub ignores a form without name, description or labels of fields, or with an id twice."""
    text = (ROOT / ".github" / "ISSUE_TEMPLATE" / f"{form}.yml").read_text(encoding="utf-8")
    loaded = yaml.safe_load(text)
    assert loaded["name"]
    assert loaded["description"]
    fields = [field for field in loaded["body"] if field["type"] != "markdown"]
    assert all(field["attributes"]["label"] for field in fields)
    identifiers = [field["id"] for field in fields]
    assert len(set(identifiers)) == len(identifiers)
    for field in fields:
        if field["type"] == "dropdown":
            options = field["attributes"]["options"]
            assert all(isinstance(option, str) for option in options)  # an unquoted No is false


def test_the_hooks_run_what_make_lint_runs() -> None:
    rule = re.search(
        r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert rule is not None
    commands = re.findall(r"^\t\$\(BIN\)/([\w-]+(?: [a-z]+)?)", rule.group(1), re.MULTILINE)
    assert commands == ["ruff check", "ruff format", "mypy", "lint-imports"]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0][
        "hooks"
    ]
    assert all(any(hook["entry"].startswith(command) for hook in hooks) for command in commands)
