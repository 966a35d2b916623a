"""The machine in the console: its address, and its picture in a real browser."""

from pathlib import Path

import pytest
from msgspec import structs
from playwright.sync_api import Browser, expect
from starlette.testclient import TestClient
from tests.console.visitor import Visitor, visiting
from tests.devices.machines import profile_of
from tests.fakes.fake_service import FakeService
from tests.fakes.scripted_service import ConsoleNode

from ai_assistant.console.routes import console_routes
from ai_assistant.devices.profile import DiskSpeed, Profile, ThreadRate
from ai_assistant.gateway.app import build_app
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.protocol.kernels import DeviceSpeed, MatrixRate
from ai_assistant.store.conversations import Conversations

ADDRESS = "/console/machine"


def product(tokens: int, seconds: float) -> MatrixRate:
    return MatrixRate(
        weights="q4_K", tokens=tokens, threads=8, seconds=seconds, weight_bytes=10**9,
        elements=2 * 10**9,
    )  # fmt: skip


def measured(name: str) -> Profile:
    profile = profile_of(name)
    speed = DeviceSpeed(device="CUDA0", copy_bytes_per_second=820e9, to_device_pinned=24.8e9)
    disk = DiskSpeed(sequential=3.1e9, parallel=6.2e9, readers=8, random_4k=55e6)
    rates = (product(1, 0.05), product(512, 4.096))
    return structs.replace(
        profile,
        measured_at="2026-11-22T05:16:29+00:00",
        cpu=structs.replace(profile.cpu, matrices=rates),
        memory=structs.replace(profile.memory, read=(ThreadRate(8, 52e9),)),
        accelerators=tuple(structs.replace(one, speed=speed) for one in profile.accelerators),
        disks=tuple(structs.replace(one, speed=disk) for one in profile.disks),
    )


def client(tmp_path: Path, look: object, **settings: object) -> TestClient:
    routes = console_routes(Conversations(tmp_path), look)  # pyright: ignore[reportArgumentType]
    options = GatewaySettings(**settings)  # pyright: ignore[reportArgumentType]
    return TestClient(build_app(FakeService(), options, mounts=routes), base_url="http://localhost")


def test_the_machine_is_told_as_it_is(tmp_path: Path):
    answer = client(tmp_path, lambda: profile_of("mac-mini-m4")).get(ADDRESS)
    assert answer.headers["cache-control"] == "no-store"
    assert (answer.json()["model"], answer.json()["cpu"]["physical"]) == ("Mac16,10", 10)


def test_it_is_behind_the_key_and_not_for_strange_pages(tmp_path: Path):
    locked = client(tmp_path, lambda: profile_of("mac-mini-m4"), api_keys=("secret",))
    assert locked.get(ADDRESS).status_code == 401
    assert locked.get(ADDRESS, headers={"authorization": "Bearer secret"}).status_code == 200
    strange = {"origin": "https://evil.example", "authorization": "Bearer secret"}
    assert locked.get(ADDRESS, headers=strange).status_code == 403


def test_without_a_look_there_is_no_address(tmp_path: Path):
    assert client(tmp_path, None).get(ADDRESS).status_code == 404


def test_the_picture_shows_cores_by_kind_and_how_to_measure(visitor: Visitor):
    page = visitor.page
    page.get_by_role("link", name="Machine").click()
    expect(page.locator(".cores i.performance")).to_have_count(6)
    expect(page.locator(".cores i.efficiency")).to_have_count(8)
    expect(page.locator(".machine-box.memory")).to_contain_text("27.6 GiB free of 31 GiB")
    expect(page.locator(".machine-box.unused")).to_contain_text("Intel graphics a7a0")
    expect(page.locator(".machine code")).to_have_text("ai-assistant devices --measure")
    page.get_by_role("button", name="Back to the conversation").click()
    expect(page.locator(".machine-picture")).to_be_hidden()


def test_speeds_stand_at_the_lines(visitor: Visitor, node: ConsoleNode):
    node.profile = measured("workstation-rtx-3090")
    page = visitor.visit("#/machine")
    lines = page.locator(".machine-line")
    expect(lines).to_have_text(["24.8 GB/s", "52 GB/s", "6.2 GB/s"])
    expect(page.locator(".rates tbody tr")).to_have_text(["CPUq4_K20 GB/s500 GFLOP/s"])


def test_eight_cards_say_their_speed_themselves(visitor: Visitor, node: ConsoleNode):
    node.profile = measured("server-8x-h100")
    page = visitor.visit("#/machine")
    expect(page.locator(".card-box")).to_have_count(8)
    expect(page.locator(".card-box").last).to_contain_text("from main memory 24.8 GB/s")


@pytest.mark.parametrize("name", ["raspberry-pi-4", "numa-server-opteron-6134", "container-quota"])
def test_machines_that_tell_little_have_a_picture_too(
    visitor: Visitor, node: ConsoleNode, name: str
):
    node.profile = profile_of(name)
    page = visitor.visit("#/machine")
    expect(page.locator(".machine-box.processor")).to_be_visible()
    for word in ("undefined", "NaN", "null"):
        expect(page.locator(".machine")).not_to_contain_text(word)


def test_the_page_speaks_chinese_and_fits_a_phone(browser: Browser, node: ConsoleNode):
    size = {"width": 390, "height": 844}
    with visiting(browser, node.url, locale="zh-CN", viewport=size) as visitor:
        page = visitor.visit("#/machine")
        expect(page.locator("h1:visible")).to_have_text("这台机器")
        expect(page.locator(".machine-box.processor")).to_contain_text("6 性能核, 8 能效核")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
