"""The page's files: what they may load, which routes they call, and that every field has a label."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from personakit.serving.app import create_app
from personakit.serving.store import ProfileStore

from .stubs import BASE, stub_service

WEB = Path(__file__).parents[2] / "personakit" / "serving" / "web"
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in WEB.glob("*.js")}
ALL = "\n".join(SCRIPTS.values())


class Elements(HTMLParser):
    """All start tags of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def values(self, *names: str) -> list[str]:
        return [value for _, given in self.found for name in names if (value := given.get(name)) is not None]


@pytest.fixture(scope="module")
def elements() -> Elements:
    return Elements((WEB / "index.html").read_text(encoding="utf-8"))


def test_the_page_may_run_its_own_files_and_call_its_own_service_only(client: TestClient) -> None:
    for address in ("/", "/web/page.js"):
        reply = client.get(address)
        assert reply.headers["x-content-type-options"] == "nosniff"
        rules = dict(
            rule.strip().split(" ", 1) for rule in reply.headers["content-security-policy"].split(";")
        )
        assert rules.pop("img-src") == "data:"
        for name in ("script-src", "style-src", "connect-src"):
            assert rules.pop(name) == "'self'"
        assert rules.pop("require-trusted-types-for") == "'script'"
        assert set(rules) == {"default-src", "base-uri", "form-action", "frame-ancestors", "trusted-types"}
        assert set(rules.values()) == {"'none'"}


def test_every_file_that_the_page_names_is_served(client: TestClient, elements: Elements) -> None:
    assert client.get("/").headers["content-type"].startswith("text/html")
    names = [name for name in elements.values("src", "href") if name != "data:,"]
    names += [f"web/{name}" for name in re.findall(r'(?:from|import) "\./([^"]+)"', ALL)]
    assert {Path(name).name for name in names} == {path.name for path in WEB.iterdir()} - {"index.html"}
    for name in names:
        kind = {".css": "text/css", ".js": "text/javascript"}[Path(name).suffix]
        assert client.get(f"/{name}").headers["content-type"].startswith(kind)


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fapp.py", "%2e%2e/app.py"])
def test_no_other_file_is_served(client: TestClient, name: str) -> None:
    reply = client.get(f"/web/{name}")
    assert (reply.status_code, set(reply.json())) == (404, {"error"})


def test_nothing_comes_from_another_site_or_is_written_as_html(elements: Elements) -> None:
    for path in WEB.iterdir():
        assert "//" not in re.sub(r"^\s*//.*|\s// .*", "", path.read_text(encoding="utf-8"), flags=re.M)
    assert not re.search(r"\.(inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\b|Function\(", ALL)
    names = {name for _, given in elements.found for name in given}
    assert not any(name == "style" or name.startswith("on") for name in names)
    assert all("src" in given for tag, given in elements.found if tag == "script")


def test_the_routes_that_the_page_calls_are_in_the_schema(client: TestClient) -> None:
    calls = re.findall(r'\bcall\(\s*"([A-Z]+)",\s*"([^"]+)"', ALL)
    assert len(calls) == len(re.findall(r"\bcall\(", ALL)) - 1, "all but its definition"
    paths = client.get("/openapi.json").json()["paths"]
    for method, route in calls:
        assert method.lower() in paths[f"/{route}"]


def test_every_field_has_a_label_and_every_name_of_an_element_is_one(elements: Elements) -> None:
    ids = elements.values("id")
    assert len(ids) == len(set(ids))
    labelled = {given["for"] for tag, given in elements.found if tag == "label" and "for" in given}
    fields = [given for tag, given in elements.found if tag in ("input", "textarea", "select")]
    named = [given["id"] for given in fields if "id" in given and given.get("type") != "checkbox"]
    assert set(named) == labelled
    assert [given for given in fields if "id" not in given] == [
        {"autocomplete": "off", "rows": "6", "required": None, "dir": "auto"}
    ], "that of a summary, which gets its id and label from the script"
    references = elements.values("aria-labelledby", "aria-describedby", "for", "list")
    references += re.findall(r'\$\("([^"]+)"\)', ALL)
    assert {name for each in references for name in each.split()} <= set(ids)


def test_the_page_needs_no_key_and_tells_what_a_key_reaches(store: ProfileStore) -> None:
    stubs = stub_service(store, open_to_all=False)
    store.tenant().create("ada")
    _, ada = store.keys(store.tenant()).create(user="ada")
    _, all_users = store.keys(store.tenant()).create()
    with TestClient(create_app(stubs.service)) as client:
        assert client.get("/").status_code == 200
        assert client.get("/v1/access").status_code == 401
        for secret, user in ((ada, "ada"), (all_users, None)):
            reply = client.get("/v1/access", headers={"Authorization": f"Bearer {secret}"})
            assert reply.json() == {"user": user, "base": BASE}
    stubs.service.answering.batcher.close()
