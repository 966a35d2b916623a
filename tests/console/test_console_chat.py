"""Chatting in a real browser."""

import re

import pytest
from playwright.sync_api import Page, expect
from tests.console.visitor import Visitor
from tests.fakes.scripted_service import ConsoleNode, big, starter

from ai_assistant.protocol.requests import ChatPrompt, Priority

ANSWER = ".message.assistant:not(.streaming)"


def kept(node: ConsoleNode) -> list[tuple[str, str]]:
    """Role and content of the newest conversation's messages, as stored."""
    lines = node.conversations.list("local")
    if not lines:
        return []
    return [(m.role, m.content) for m in node.conversations.get("local", lines[0].id).messages]


def eventually_kept(page: Page, node: ConsoleNode, count: int) -> list[tuple[str, str]]:
    for _ in range(100):
        if len(kept(node)) == count:
            return kept(node)
        page.wait_for_timeout(50)
    raise AssertionError(kept(node))


def test_a_question_is_answered_and_kept(visitor: Visitor, node: ConsoleNode):
    assert visitor.ask_and_wait("hello there") == "You said: hello there"
    assert eventually_kept(visitor.page, node, 2) == [
        ("user", "hello there"),
        ("assistant", "You said: hello there"),
    ]
    figures = visitor.page.locator(".figures").inner_text()
    assert re.search(r"first word after [\d.]+ s.*4 tokens", figures, re.DOTALL)
    assert visitor.page.locator(".row-title").inner_text() == "hello there"


def test_an_answer_is_seen_while_it_grows_and_can_be_stopped(visitor: Visitor, node: ConsoleNode):
    page = visitor.page
    visitor.ask("slow please")
    page.locator(".streaming .prose", has_text="word word").wait_for()
    first = len(page.locator(".streaming .prose").inner_text())
    page.wait_for_timeout(300)
    assert len(page.locator(".streaming .prose").inner_text()) > first
    page.keyboard.press("Escape")
    page.locator(f"{ANSWER}[data-state=stopped]").wait_for()
    expect(page.locator(".mark")).to_have_text("You stopped this answer.")
    assert eventually_kept(page, node, 2)[1][1].startswith("word word")
    assert len(node.service.closed) == 1


def test_a_reload_in_the_middle_keeps_what_had_arrived_and_what_was_typed(
    visitor: Visitor, node: ConsoleNode
):
    page = visitor.page
    visitor.ask("slow please")
    page.locator(".streaming .prose", has_text="word word word").wait_for()
    page.fill("#message", "half a thou")
    page.reload()
    mark = page.locator(f"{ANSWER}[data-state=partial] .mark")
    expect(mark).to_have_text("This answer was cut off when the page closed.")
    assert "word word" in page.locator(f"{ANSWER} .prose").inner_text()
    assert page.input_value("#message") == "half a thou"
    assert [role for role, _ in kept(node)] == ["user", "assistant"]


def test_a_reload_before_the_first_word_offers_to_answer(visitor: Visitor, node: ConsoleNode):
    node.service.loads = 100
    visitor.ask("hello")
    eventually_kept(visitor.page, node, 1)
    visitor.page.reload()
    node.service.loads = 0
    visitor.page.get_by_role("button", name="Answer now").click()
    expect(visitor.page.locator(f"{ANSWER} .prose")).to_have_text("You said: hello")


def test_another_answer_replaces_the_old_one(visitor: Visitor, node: ConsoleNode):
    visitor.ask_and_wait("one")
    visitor.page.get_by_role("button", name="Answer again").click()
    expect(visitor.page.locator(ANSWER)).to_have_count(1)
    visitor.page.wait_for_timeout(300)
    assert len(eventually_kept(visitor.page, node, 2)) == 2


def test_when_no_new_answer_comes_the_old_one_stays(visitor: Visitor, node: ConsoleNode):
    visitor.ask_and_wait("one")
    visitor.page.route("**/v1/chat/completions", lambda route: route.abort())
    visitor.page.get_by_role("button", name="Answer again").click()
    expect(visitor.page.locator(".chat .notice.error")).to_contain_text("cannot be reached")
    expect(visitor.page.locator(f"{ANSWER} .prose")).to_have_text("You said: one")
    visitor.forgive("ERR_FAILED")
    assert kept(node)[1][1] == "You said: one"


def test_an_edited_question_is_sent_again(visitor: Visitor, node: ConsoleNode):
    page = visitor.page
    visitor.ask_and_wait("first")
    visitor.ask_and_wait("second")
    page.locator(".message.user").first.hover()
    page.locator(".message.user").first.get_by_role("button", name="Edit").click()
    page.fill(".edit-area", "changed")
    page.get_by_role("button", name="Send again").click()
    expect(page.locator(f"{ANSWER} .prose")).to_have_text("You said: changed")
    assert eventually_kept(page, node, 2)[0] == ("user", "changed")


def test_markdown_and_code_are_drawn_and_coloured(visitor: Visitor):
    page = visitor.page
    visitor.ask_and_wait("code please")
    expect(page.locator(f"{ANSWER} .hljs-keyword").first).to_be_visible()
    expect(page.locator(f"{ANSWER} li")).to_have_count(3)
    assert page.locator(f"{ANSWER} td[align=right]").first.inner_text() == "5"
    page.reload()
    expect(page.locator(f"{ANSWER} .hljs-keyword").first).to_be_visible()


def test_grown_markdown_equals_markdown_drawn_at_once(visitor: Visitor):
    page = visitor.page
    visitor.ask_and_wait("long please")
    page.wait_for_timeout(500)
    read = f"document.querySelector('{ANSWER} .prose').innerText"
    grown = page.evaluate(read)
    page.reload()
    page.locator(ANSWER).wait_for()
    page.wait_for_timeout(500)
    assert page.evaluate(read) == grown


def test_code_and_messages_can_be_copied(visitor: Visitor):
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.ask_and_wait("code please")
    page = visitor.page
    page.get_by_role("button", name="Copy code").click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("from collections")
    page.locator(ANSWER).get_by_role("button", name="Copy", exact=True).click()
    assert "```python" in page.evaluate("navigator.clipboard.readText()")


def test_what_a_model_writes_never_runs(visitor: Visitor):
    page = visitor.page
    visitor.ask_and_wait("xss please")
    for _ in range(2):
        page.wait_for_timeout(300)
        assert page.evaluate("window.hacked") is None
        assert page.locator(".prose :is(img, script, style, svg:not(.icon))").count() == 0
        links = page.locator(".prose a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
        assert all(href is None or href.startswith("https://") for href in links)
        assert page.locator(".prose [onclick], .prose [onerror]").count() == 0
        assert "<script>" in page.locator(".prose").inner_text()
        page.reload()
        page.locator(ANSWER).wait_for()


def test_thoughts_are_folded_away_once_the_answer_begins(visitor: Visitor):
    page = visitor.page
    visitor.ask("think please")
    expect(page.locator("details.reasoning")).to_have_attribute("open", "")
    expect(page.locator(f"{ANSWER} .prose")).to_have_text("It is four.")
    expect(page.locator("details.reasoning")).not_to_have_attribute("open", "")
    page.locator("summary").click()
    assert page.locator(".reasoning-text").inner_text().startswith("Two and two.")


def test_a_loading_model_is_waited_for(visitor: Visitor, node: ConsoleNode):
    page = visitor.page
    node.service.models = (starter(state="loading", progress=0.4, eta_seconds=7.2), big())
    node.service.loads = 2
    visitor.ask("hello")
    expect(page.locator(".waiting .loading")).to_contain_text("starter is being loaded · 40 %")
    expect(page.locator(".waiting .loading")).to_contain_text("about 8 s left")
    node.service.models = (starter(), big())
    expect(page.locator(f"{ANSWER} .prose")).to_have_text("You said: hello")


@pytest.mark.parametrize(
    ("question", "shown"), [("die", "The beginning of an answer"), ("refuse", "")]
)
def test_an_engine_that_dies_is_explained_and_asked_again(
    visitor: Visitor, question: str, shown: str
):
    page = visitor.page
    visitor.ask(question)
    expect(page.locator(".chat .notice.error")).to_contain_text("The assistant could not answer")
    assert page.locator(f"{ANSWER} .prose").inner_text() == shown
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".chat .notice.error")).to_contain_text("The assistant could not answer")


def test_without_the_node_the_question_is_kept(visitor: Visitor, node: ConsoleNode):
    page = visitor.page
    page.route("**/v1/**", lambda route: route.abort())
    page.route("**/console/conversations/**", lambda route: route.abort())
    visitor.ask("are you there?")
    expect(page.locator(".chat .notice.error")).to_contain_text("cannot be reached")
    expect(page.locator(".toast")).to_contain_text("cannot be saved")
    assert page.locator(".bubble").inner_text() == "are you there?"
    page.unroute_all()
    page.reload()
    expect(page.locator(".bubble")).to_have_text("are you there?")
    page.get_by_role("button", name="Answer now").click()
    expect(page.locator(f"{ANSWER} .prose")).to_have_text("You said: are you there?")
    visitor.forgive("ERR_FAILED")
    assert len(eventually_kept(page, node, 2)) == 2


def test_an_answer_goes_on_while_another_conversation_is_read(visitor: Visitor):
    page = visitor.page
    visitor.ask_and_wait("first")
    page.keyboard.press("Control+k")
    visitor.ask("slow please")
    page.locator(".streaming .prose", has_text="word").wait_for()
    page.locator(".row", has_text="first").click()
    expect(page.locator(f"{ANSWER} .prose")).to_have_text("You said: first")
    expect(page.locator("li.running")).to_have_count(1)
    page.locator(".row", has_text="slow please").click()
    page.locator(".streaming .prose", has_text="word word").wait_for()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("li.running")).to_have_count(0)


def test_settings_of_the_conversation_reach_the_model(visitor: Visitor, node: ConsoleNode):
    page = visitor.page
    page.get_by_role("button", name="Settings").first.click()
    page.fill("#system", "Be brief.")
    page.fill("#temperature", "0.3")
    page.fill("#max_tokens", "64")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    visitor.ask_and_wait("hello")
    request = node.service.asked[-1]
    assert (request.sampling.temperature, request.max_tokens) == (0.3, 64)
    assert request.priority is Priority.INTERACTIVE
    assert isinstance(request.prompt, ChatPrompt)
    assert [message.role for message in request.prompt.messages] == ["system", "user"]
    page.reload()
    page.locator(ANSWER).wait_for()
    page.get_by_role("button", name="Settings").first.click()
    assert page.input_value("#system") == "Be brief."


def test_the_chosen_model_is_asked(visitor: Visitor, node: ConsoleNode):
    page = visitor.page
    expect(page.locator(".ember")).to_be_visible()
    page.locator(".picker").click()
    expect(page.get_by_role("menuitemradio", name="qwen3")).to_contain_text("not loaded")
    page.get_by_role("menuitemradio", name="qwen3").click()
    expect(page.locator(".ember")).to_be_hidden()
    visitor.ask_and_wait("hello")
    assert node.service.asked[-1].model == "qwen3-4b-instruct"
