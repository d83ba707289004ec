"""Variables for proxies and certificates: not used for this machine, named where they are unusable."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from personakit.errors import UserError
from personakit.models.endpoint import EndpointModel
from personakit.models.model_files import locate
from personakit.models.proxies import check_client, is_loopback, proxy_for

from .server import Server, echo

UNUSABLE = {
    "ALL_PROXY": "ftp://me:secret@127.0.0.1:1080",
    "HTTPS_PROXY": "gopher://127.0.0.1:1",
    "SSL_CERT_FILE": "/no/such/cacert.pem",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        for each in (name, name.lower()):
            monkeypatch.delenv(each, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server(echo)
    yield started
    started.stop()


@pytest.mark.parametrize(
    ("name", "value"),
    [*UNUSABLE.items(), ("HTTP_PROXY", "http://127.0.0.1:9"), ("NO_PROXY", "[::1],fd07::/64")],
)
def test_addresses_of_this_machine_need_no_proxy(
    server: Server, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert EndpointModel("m", base_url=server.url).generate(["p"], max_new_tokens=7) == [["p:0"]]


@pytest.mark.parametrize(("name", "value"), UNUSABLE.items())
def test_unusable_variable_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        EndpointModel("m", base_url="https://example.invalid/v1").generate(["p"], max_new_tokens=7)
    assert f"{name}={value.rpartition('@')[2]} cannot be used" in caught.value.message
    assert name in caught.value.hint
    assert "secret" not in caught.value.message + caught.value.hint


def test_unusable_variable_is_named_before_the_hub_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False)
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/cacert.pem")
    with pytest.raises(UserError, match=r"SSL_CERT_FILE=/no/such/cacert\.pem cannot be used"):
        locate("someone/some-model")


def test_unusable_proxy_does_not_matter_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    monkeypatch.setenv("ALL_PROXY", "ftp://127.0.0.1:1080")
    with pytest.raises(UserError, match=r"neither a folder nor available from the hub$"):
        locate("someone/some-model")


def test_unreachable_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personakit.models.retries.pause", lambda seconds, stop: None)
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    model = EndpointModel("m", base_url="http://example.invalid/v1")
    with pytest.raises(UserError, match=r"through the proxy HTTP_PROXY=127\.0\.0\.1:9") as caught:
        model.generate(["p"], max_new_tokens=7)
    assert "secret" not in caught.value.message


def test_proxy_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy:1")
    monkeypatch.setenv("NO_PROXY", "inside.example")
    assert proxy_for("https://outside.example/v1") == "ALL_PROXY=http://proxy:1"
    assert proxy_for("https://inside.example/v1") is proxy_for("http://[::1]/v1") is None
    check_client("https://outside.example/v1")


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.3.2.1/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://localhost/v1", True),
        ("http://api.localhost/v1", True),
        ("http://10.0.0.1/v1", False),
        ("http://localhost.example/v1", False),
    ],
)
def test_loopback(url: str, own: bool) -> None:
    assert is_loopback(url) is own
