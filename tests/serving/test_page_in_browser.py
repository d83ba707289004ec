"""The page in a browser: `make test-page`. Skipped where Playwright or a browser is not installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from personakit.serving.base import BaseAnswer, Chat
from personakit.serving.errors import ApiError
from personakit.serving.store import ProfileStore

from .stubs import Stubs, listening, stub_service

playwright = pytest.importorskip("playwright.sync_api")
DRAFT = "Dear all, the train is late. I will be there at 10:15."
POSTS = ["hi all! coffee's out :)", "hi all! dentist tomorrow :)"]
EVIL = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        names = ("chromium", "chromium-browser", "google-chrome", "chrome")
        path = next((found for name in names if (found := shutil.which(name))), None)
        try:
            opened = running.chromium.launch(executable_path=path)
        except playwright.Error:
            pytest.skip("there is no browser")
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """An empty page; at the end of the test nothing may have been refused by its policy or thrown."""
    context = browser.new_context(viewport={"width": 360, "height": 740})
    made, faults = context.new_page(), []
    made.set_default_timeout(20_000)
    made.on("pageerror", lambda error: faults.append(str(error)))
    made.on("console", lambda said: faults.append(said.text) if "Content Security" in said.text else None)
    yield made
    assert faults == []
    context.close()


@pytest.fixture
def address(stubs: Stubs) -> Iterator[str]:
    """A service whose base answers with `DRAFT`, and whose rewriter answers with a version of it."""
    stubs.base.answer = drafted
    stubs.rewriter.answer = lambda prompt, limit: "hi all! the train is late. I'll be there at 10:15 :)"
    with listening(stubs.service) as url:
        yield url


def drafted(chat: Chat) -> BaseAnswer:
    return BaseAnswer({"role": "assistant", "content": DRAFT}, DRAFT)


def button(page: Any, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def ask(page: Any, text: str = "Tell them that the train is late.") -> None:
    page.get_by_label("Message to the model").fill(text)
    button(page, "Ask").click()


def choose(page: Any, user: str) -> None:
    page.get_by_label("Name").fill(user)
    page.get_by_label("Name").press("Enter")


def test_a_pasted_history_changes_the_answer_and_the_page_shows_how(
    page: Any, address: str, store: ProfileStore
) -> None:
    page.goto(address)
    page.get_by_label("Name").fill("ada")
    page.get_by_text("Paste a history").click()
    page.get_by_label("Texts that the user wrote").fill("\n\n".join(POSTS))
    button(page, "Store the texts").click()
    page.get_by_text("2 texts stored for ada.").wait_for()
    assert [item.fields["text"] for item in store.tenant().items("ada")] == POSTS
    ask(page)
    page.locator("#used li").nth(1).wait_for()
    assert page.locator("#generic").inner_text() == DRAFT
    assert page.locator("#generic del").all_inner_texts() == ["Dear", ",", "I will", "."]
    assert page.locator("#own ins").all_inner_texts() == ["hi", "!", "I'll", ":)"]
    said = page.locator("#ask-form > [role=status]").inner_text()
    assert said.startswith("Personalised for ada with 2 texts.")
    assert [text.split("\n")[-1] for text in page.locator("#used li").all_inner_texts()] == POSTS[::-1]
    assert "stub-base" in page.locator("#trace").inner_text()


def test_an_edit_is_saved_and_asking_again_uses_it(page: Any, address: str, store: ProfileStore) -> None:
    store.tenant().append("ada", [({"text": POSTS[0]}, None)])
    page.goto(address)
    choose(page, "ada")
    ask(page)
    page.get_by_text("Edit the answer").click()
    answer = page.locator("#own").inner_text()
    page.get_by_label("The answer as it should be").fill("hi all! train's late :)")
    button(page, "Save the edit").click()
    page.get_by_text("Saved.").wait_for()
    assert store.tenant().items("ada")[-1].fields == {"text": "hi all! train's late :)", "draft": answer}
    button(page, "Ask again").click()
    page.locator("#used").get_by_text("hi all! train's late :)").wait_for()


def test_a_summary_can_be_corrected(page: Any, address: str, store: ProfileStore) -> None:
    store.tenant().put_summary("ada", "popi", "Formal.")
    page.goto(address)
    choose(page, "ada")
    page.get_by_label("Summary by popi").fill("Short and warm.")
    button(page, "Save the summary").click()
    page.get_by_text("Saved.").wait_for()
    assert [each.text for each in store.tenant().summaries("ada")] == ["Short and warm."]


def test_html_in_a_history_a_name_and_an_answer_stays_text(
    page: Any, address: str, stubs: Stubs, store: ProfileStore
) -> None:
    name = EVIL.replace("/", "")
    store.tenant().append(name, [({"text": EVIL, EVIL: EVIL}, EVIL[:40])])
    store.tenant().put_summary(name, name, EVIL)
    stubs.base.answer = lambda chat: BaseAnswer({"role": "assistant", "content": EVIL}, EVIL)
    stubs.rewriter.answer = lambda prompt, limit: f"{EVIL} again"
    page.goto(address)
    choose(page, name)
    page.get_by_text("Stored texts").click()
    page.locator("#items li").wait_for()
    ask(page, EVIL)
    page.locator("#used li").wait_for()
    assert page.locator("#own").inner_text() == f"{EVIL} again"
    assert page.locator("img, body script").count() == 0
    assert page.title() == "personakit"


def test_everything_works_with_the_keyboard_alone(page: Any, address: str, store: ProfileStore) -> None:
    store.tenant().append("ada", [({"text": POSTS[0]}, None)])
    page.goto(address)
    page.get_by_label("Name").wait_for()

    def tab_to(target: Any) -> None:
        for _ in range(40):
            if target.evaluate("element => element === document.activeElement"):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"{target} is not reached")

    tab_to(page.get_by_label("Name"))
    page.keyboard.type("ada")
    page.keyboard.press("Enter")
    page.get_by_text("1 text.").wait_for()
    tab_to(page.get_by_label("Message to the model"))
    page.keyboard.type("Hi")
    page.keyboard.press("Control+Enter")
    page.get_by_text("Personalised for ada with 1 text.").first.wait_for()
    tab_to(page.locator("#edit summary"))
    page.keyboard.press("Enter")
    tab_to(page.get_by_label("The answer as it should be"))
    tab_to(button(page, "Forget this user"))
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == "Keep"
    page.keyboard.press("Escape")
    assert store.tenant().user("ada").items == 1
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("ada is forgotten.").wait_for()
    assert "Personalised for ada" not in page.locator("body").inner_text()
    assert store.tenant().users() == []
    assert page.locator("#answers").is_hidden()
    assert page.evaluate("document.activeElement.id") == "user"
    assert POSTS[0] not in page.locator("body").text_content()


def test_an_error_of_the_api_is_shown_as_its_sentence(page: Any, address: str, stubs: Stubs) -> None:
    page.goto(address)
    stubs.base.error = ApiError(503, "the base model cannot be reached")
    ask(page)
    shown = page.locator("#ask-form > [role=status].error")
    shown.wait_for()
    assert shown.inner_text() == "the base model cannot be reached"
    choose(page, "..")
    page.get_by_text(".. is no name of a user.").wait_for()
    choose(page, "ada/bob")
    page.get_by_text("A name has no slash.").wait_for()


def test_an_answer_goes_with_its_user(page: Any, address: str, store: ProfileStore, stubs: Stubs) -> None:
    for user in ("ada", "bob"):
        store.tenant().append(user, [({"text": POSTS[0]}, None)])
    page.goto(address)
    choose(page, "ada")
    ask(page)
    page.locator("#used li").wait_for()
    choose(page, "bob")
    page.locator("#answers").wait_for(state="hidden")
    assert page.locator("#ask-form > [role=status]").inner_text() == ""
    assert page.locator("#own").text_content() == ""
    stubs.base.seconds = 1
    ask(page)
    choose(page, "ada")
    page.get_by_text("Stopped.").wait_for()
    stubs.base.seconds = 0
    page.get_by_label("Name").fill("bob")
    button(page, "Ask").click()  # the name is read by the click that asks
    page.get_by_text("Personalised for bob").first.wait_for()


def test_a_request_can_be_stopped(page: Any, address: str, stubs: Stubs) -> None:
    page.goto(address)
    stubs.base.seconds = 4
    ask(page)
    button(page, "Stop").click()
    page.get_by_text("Stopped.").wait_for()
    assert page.locator("#answers").is_hidden()


def test_a_key_is_asked_for_and_its_user_is_fixed(page: Any, store: ProfileStore) -> None:
    stubs = stub_service(store, open_to_all=False)
    store.tenant().append("ada", [({"text": POSTS[0]}, None)])
    _, secret = store.keys(store.tenant()).create(user="ada")
    with listening(stubs.service) as url:
        page.goto(url)
        page.get_by_label("API key").fill("wrong")
        button(page, "Use this key").click()
        page.get_by_text("this service needs a valid key").wait_for()
        page.get_by_label("API key").fill(secret)
        button(page, "Use this key").click()
        page.get_by_text("1 text.").wait_for()
        assert page.get_by_label("Name").input_value() == "ada"
        assert not page.get_by_label("Name").is_editable()
        assert page.evaluate("localStorage.length") == 0
        button(page, "Remove the key").click()
        page.get_by_label("API key").wait_for()
        assert page.evaluate("sessionStorage.length") == 0
    stubs.service.answering.batcher.close()


@pytest.mark.parametrize("width", [320, 400, 1280])
def test_nothing_is_wider_than_the_screen(page: Any, address: str, store: ProfileStore, width: int) -> None:
    long = "w" * 200
    store.tenant().append(long, [({"text": long}, None)])
    page.set_viewport_size({"width": width, "height": 640})
    page.goto(address)
    choose(page, long)
    page.get_by_text("Stored texts").click()
    page.locator("#items li").wait_for()
    ask(page, long)
    page.locator("#used li").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
