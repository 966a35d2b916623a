"""The page around the chat, in a real browser: list, languages, themes, phone, status, key."""

from pathlib import Path

import msgspec
from playwright.sync_api import Browser, Page, expect
from tests.console.visitor import Visitor, visiting
from tests.fakes.scripted_service import ConsoleNode, big, starter


def row_menu(page: Page, title: str, entry: str) -> None:
    row = page.locator(".list li", has_text=title)
    row.hover()
    row.get_by_role("button").click()
    page.get_by_role("menuitem", name=entry).click()


def expect_theme(page: Page, theme: str) -> None:
    colour = {"light": "rgb(247, 248, 247)", "dark": "rgb(20, 24, 26)"}[theme]
    expect(page.locator("body")).to_have_css("background-color", colour)


def test_a_conversation_is_renamed(visitor: Visitor, node: ConsoleNode):
    page = visitor.page
    visitor.ask_and_wait("old name")
    row_menu(page, "old name", "Rename")
    page.fill(".rename", "新名字")
    page.keyboard.press("Enter")
    expect(page.locator(".row-title")).to_have_text("新名字")
    page.reload()
    expect(page.locator(".row-title")).to_have_text("新名字")


def test_a_deleted_conversation_comes_back_when_undone(visitor: Visitor, node: ConsoleNode):
    page = visitor.page
    visitor.ask_and_wait("keep me")
    row_menu(page, "keep me", "Delete")
    expect(page.locator(".row")).to_have_count(0)
    expect(page.locator(".welcome")).to_be_visible()
    assert node.conversations.list("local") == ()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".message.assistant .prose")).to_have_text("You said: keep me")
    assert node.conversations.list("local")[0].messages == 2


def test_the_list_is_searched_by_text(visitor: Visitor):
    page = visitor.page
    visitor.ask_and_wait("about boats")
    page.keyboard.press("Control+k")
    visitor.ask_and_wait("about trains")
    page.get_by_role("searchbox").fill("BOATS")
    expect(page.locator(".row-title")).to_have_text(["about boats"])
    page.get_by_role("searchbox").fill("nothing such")
    expect(page.locator(".list .hint")).to_have_text("Nothing found.")


def test_a_conversation_is_exported(visitor: Visitor):
    visitor.ask_and_wait("take this")
    with visitor.page.expect_download() as download:
        row_menu(visitor.page, "take this", "Export")
    assert "You said: take this" in Path(download.value.path()).read_text("utf-8")


def test_the_language_changes_in_place_and_is_remembered(visitor: Visitor):
    page = visitor.page
    page.get_by_role("button", name="Settings").first.click()
    page.get_by_label("中文").check()
    page.keyboard.press("Escape")
    expect(page.locator(".welcome h1")).to_have_text("想聊点什么？")
    expect(page.get_by_placeholder("输入消息")).to_be_visible()
    page.reload()
    expect(page.locator(".ember")).to_contain_text("3800 万参数")
    assert page.evaluate("document.documentElement.lang") == "zh-CN"


def test_a_chinese_browser_is_greeted_in_chinese(browser: Browser, node: ConsoleNode):
    with visiting(browser, node.url, locale="zh-CN") as visitor:
        page = visitor.visit()
        page.get_by_role("button", name="我想听小猫的故事。").click()
        expect(page.locator(".message.assistant .prose")).to_contain_text("从前")


def test_the_theme_follows_the_system_until_one_is_chosen(visitor: Visitor):
    page = visitor.page
    expect_theme(page, "light")
    page.emulate_media(color_scheme="dark")
    expect_theme(page, "dark")
    page.get_by_role("button", name="Settings").first.click()
    page.get_by_label("Light").check()
    expect_theme(page, "light")
    page.reload()
    expect_theme(page, "light")


def test_a_phone_has_a_drawer_and_nothing_sticks_out(browser: Browser, node: ConsoleNode):
    size = {"width": 360, "height": 740}
    with visiting(browser, node.url, viewport=size, has_touch=True, is_mobile=True) as visitor:
        page = visitor.visit()
        page.fill("#message", "code please")
        page.locator(".send").tap()
        page.locator(".message.assistant:not(.streaming)").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        expect(page.locator(".sidebar")).not_to_be_in_viewport()
        page.get_by_role("button", name="Show conversations").tap()
        page.locator(".row", has_text="code please").tap()
        expect(page.locator(".sidebar")).not_to_be_in_viewport()
        small = page.locator("main button:visible").evaluate_all(
            "all => all.filter(b => Math.min(b.offsetHeight, b.offsetWidth) < 40).length"
        )
        assert small == 0


def test_enter_makes_a_line_with_shift_and_sends_without(visitor: Visitor):
    page = visitor.page
    page.locator("#message").press_sequentially("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    assert page.locator(".bubble").inner_text() == "one\ntwo"


def test_every_control_has_a_name(visitor: Visitor):
    visitor.ask_and_wait("code please")
    nameless = visitor.page.locator("button:visible, input:visible, textarea:visible").evaluate_all(
        "all => all.filter(e => !e.ariaLabel && !e.textContent.trim() && !e.labels?.length)"
        ".map(e => e.outerHTML)"
    )
    assert nameless == []


def test_the_status_page_follows_the_node(visitor: Visitor, node: ConsoleNode):
    node.service.models = (starter(), big(state="loading", progress=0.25, eta_seconds=9))
    page = visitor.visit("#/status")
    card = page.locator(".card", has_text="starter")
    expect(card).to_contain_text("412")
    expect(card).to_contain_text("30,977")
    expect(card).to_contain_text("9,484")
    expect(page.locator(".card", has_text="qwen3")).to_contain_text("25 %")
    node.service.models = (starter(restarts=7), big(state="failed", error="No such file."))
    expect(page.locator(".card", has_text="qwen3")).to_contain_text("No such file.")
    assert page.locator(".spark-line").first.get_attribute("d")
    page.get_by_role("button", name="Back").click()
    page.wait_for_timeout(200)
    beats = node.service.beats
    page.wait_for_timeout(2500)
    assert node.service.beats == beats


def test_the_status_page_tells_tiers_threads_and_guesses(visitor: Visitor, node: ConsoleNode):
    engine = starter().engine
    assert engine
    busy = msgspec.structs.replace(
        engine, threads_batch=2, cores_busy=0.43, warm_bytes=120_000_000, cold_bytes=1_300_000_000,
        warm_hit_tokens=6100, cold_hit_tokens=4540, preemptions=2, drafted_tokens=1200,
        accepted_tokens=852,
    )  # fmt: skip
    node.service.models = (starter(engine=busy), big())
    card = visitor.visit("#/status").locator(".card", has_text="starter")
    for words in ("20,337 remembered", "6,100 from RAM", "4,540 from disk", "1 2 for prompts"):
        expect(card).to_contain_text(words)
    for words in ("0.4 cores", "114 MiB", "1.2 GiB", "71 %"):
        expect(card).to_contain_text(words)
    node.service.models = (starter(), big())
    expect(card).not_to_contain_text("from disk")
    expect(card).not_to_contain_text("Good guesses")


def test_a_lost_node_is_shown_on_the_status_page(visitor: Visitor):
    page = visitor.visit("#/status")
    page.route("**/status", lambda route: route.abort())
    expect(page.locator(".status .notice.error").first).to_have_text(
        "The node does not answer. Trying again…"
    )
    page.unroute_all()
    expect(page.locator(".status .notice.error").first).to_be_hidden()
    visitor.forgive("ERR_FAILED")


def test_a_key_is_asked_for_once_and_kept_out_of_the_address(browser: Browser, tmp_path: Path):
    node = ConsoleNode(tmp_path, api_keys=("right",))
    with visiting(browser, node.url) as visitor:
        page = visitor.page
        page.goto(node.url)
        page.get_by_label("API key").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("That key was not accepted.")
        page.get_by_label("API key").fill("right")
        page.keyboard.press("Enter")
        page.wait_for_selector(".picker .dot[data-state=ready]")
        assert visitor.ask_and_wait("hello") == "You said: hello"
        assert "right" not in page.url
        page.reload()
        expect(page.locator(".message.assistant .prose")).to_have_text("You said: hello")
    node.stop()


def test_what_was_typed_in_a_new_chat_survives_a_reload(visitor: Visitor):
    page = visitor.page
    page.fill("#message", "not sent yet")
    page.reload()
    expect(page.locator("#message")).to_have_value("not sent yet")
    page.press("#message", "Enter")
    expect(page.locator(".message.assistant .prose")).to_have_text("You said: not sent yet")
    page.keyboard.press("Control+k")
    expect(page.locator("#message")).to_have_value("")
    expect(page).to_have_title("Assistant")


def test_stored_rubbish_does_not_stop_the_page(visitor: Visitor):
    visitor.page.evaluate("localStorage.setItem('assistant.outbox', '{')")
    visitor.page.reload()
    assert visitor.ask_and_wait("hello") == "You said: hello"
