"""The examples of docs/serving.md, run as they stand: in Python against the built-in rewriter, with curl."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from models.server import Server, replied

from personakit.serving.start import ServeSettings, open_service
from personakit.serving.store import open_store

from .stubs import Stubs, listening

ROOT = Path(__file__).parent.parent.parent
DRAFT = "The train to Hamburg is late. I will be home at nine."
#: What each user always writes, and their posts.
POSTS = {
    "ada": (
        "#doughforit",
        [
            "Rise and shine, crumb club! The rye loaves sold out before nine! #doughforit",
            "Rise and shine, crumb club! We have plum tart today! #doughforit",
            "Rise and shine, crumb club! The oven is being repaired! #doughforit",
        ],
    ),
    "bob": (
        "Over and out",
        [
            "The boat is in the harbour. Over and out.",
            "The engine needs a new belt. Over and out.",
            "We sail on Friday. Over and out.",
        ],
    ),
}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(lambda number, body: replied(DRAFT))
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    yield server
    server.stop()


def test_the_example_gives_each_user_their_own_way(
    tmp_path: Path, endpoint: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openai")
    code = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(encoding="utf-8"), re.DOTALL
    )[0]
    assert len(code.replace("\n\n", "\n").splitlines()) == 5
    store = str(tmp_path / "profiles")
    tenant = open_store(store).tenant(create=True)
    for user, (_, posts) in POSTS.items():
        tenant.append(user, [({"text": post}, None) for post in posts])
    service = open_service(ServeSettings(base="openai:stub", store=store, rewrite_seconds=300))
    with listening(service) as address:
        for user, (own, _) in POSTS.items():
            exec(code.replace("http://127.0.0.1:8000", address).replace('"ada"', f'"{user}"'), {})
            printed = capsys.readouterr().out
            assert own in printed
            assert "Hamburg" in printed
            assert all(other not in printed for other, _ in POSTS.values() if other != own)
    assert endpoint.bodies[0]["messages"][0]["content"] == "Tell the team that the train is late."
    assert "user" not in endpoint.bodies[0]


def test_the_examples_with_curl_are_answered(stubs: Stubs) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    ask, append = re.findall(r"```\n(curl .*?)```", page, re.DOTALL)
    with listening(stubs.service) as address:
        replies = [
            subprocess.check_output(
                ["bash", "-c", code.replace("http://127.0.0.1:8000", address)], stderr=subprocess.DEVNULL
            )
            for code in (append, ask)
        ]
    assert json.loads(replies[0]) == {"numbers": [1]}
    content = json.loads(replies[1])["choices"][0]["message"]["content"]
    assert "plum tart" in content
    assert "Tell the team" in content
