"""What is found, and what looks like it and is not."""

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policy.policy_parts import PATIENT, found

from ai_assistant.policy.detectors.cards import luhn
from ai_assistant.policy.detectors.own import Own
from ai_assistant.policy.expressions import BadPattern
from ai_assistant.policy.scan import Part, Scanner

PROTECTED = [
    ("email", "alice.b+c@mail.example.co.uk", "Write to {} today."),
    ("email", "alice@example.com", "邮箱是{}，谢谢"),
    ("email", "bob (at) corp [dot] org", "or {} if you like"),
    ("email", "bob%40corp.org", "?to={}&x=1"),
    ("phone", "+44 20 7946 0958", "ring {} now"),
    ("phone", "(415) 555-2671", "It is {}."),
    ("phone", "13812345678", "电话{}。"),
    ("phone", "138-1234-5678", "她的手机号：{}"),
    ("phone", "010-62345678", "座机{}"),
    ("national_id", "11010519491231002X", "身份证号{}。"),
    ("national_id", "110105 19491231 002x", "她的号码 {} 有效"),
    ("national_id", "536-90-4399", "Her SSN is {}."),
    ("national_id", "RSSMRA85T10A562S", "CF {}"),
    ("national_id", "131052-308T", "hetu {}"),
    ("national_id", "A123456(3)", "香港身份證 {}"),
    ("national_id", "A123456789", "台灣身分證 {}"),
    ("national_id", "S1234567D", "NRIC {}"),
    ("national_id", "390.533.447-05", "O CPF {} é dele"),
    ("national_id", "44051401359", "numer PESEL {}"),
    ("card", "4111 1111 1111 1111", "card {} exp 12/30"),
    ("card", "3782-822463-10005", "amex {}"),
    ("card", "6222021001112223331", "卡号{}"),
    ("card", "5 5 5 5 5 5 5 5 5 5 5 5 4 4 4 4", "spelled {}"),
    ("iban", "GB29 NWBK 6016 1331 9268 19", "IBAN {} please"),
    ("iban", "DE89370400440532013000", "Konto {}."),
    ("secret", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "use {} for it."),
    ("secret", "hunter2!", "my password is {}, sorry"),
    ("secret", "Abc12345", "密码是{}。"),
    ("secret", "s3cretpw", "postgres://bob:{}@db.example.com/x"),
    ("medical_record", "00123456", "MRN: {} seen today"),
    ("medical_record", "0012345678", "住院号：{}"),
    ("ip_address", "203.0.113.7", "from {} at noon"),
]
HARMLESS = [
    "The order 4111111111111112 was shipped.",
    "身份证号110105194912310021不对",
    "IBAN GB28 NWBK 6016 1331 9268 19",
    "version 1.2.3 of 2024-11-22 04:43:51, build 20241122",
    "git@github.com:org/repo.git and icon@2x.png",
    "the table 12 34 56 78 90 12 34 56 78 90",
    "commit 9f2c1e7ab34d5678e0f1a2b3c4d5e6f708192a3b",
    "id 550e8400-e29b-41d4-a716-446655440000",
    "order 123456789 was paid with 1,234,567.89 EUR",
    "The password is written on paper. The token is short.",
    "127.0.0.1 and 0.0.0.0",
    "Der Termin ist am 01.02.2024 um 10.30 Uhr",
    "订单号202411220001234已发货，共38.50元",
]


@pytest.mark.parametrize(("label", "text", "sentence"), PROTECTED)
def test_protected_text_is_found_exactly(label: str, text: str, sentence: str) -> None:
    assert (label, text) in found(sentence.format(text))


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "４１１１１１１１１１１１１１１１",
        "4111\u200b1111\u200b1111\u200b1111",
        "𝟒𝟏𝟏𝟏 𝟏𝟏𝟏𝟏 𝟏𝟏𝟏𝟏 𝟏𝟏𝟏𝟏",
        "4111–1111–1111–1111",
        "4111\u00a01111\u00a01111\u00a01111",
        "٤١١١١١١١١١١١١١١١",
    ],
)
def test_disguised_digits_are_digits(text: str) -> None:
    assert found(f"pay with {text} now") == [("card", text)]


def test_json_escapes_do_not_hide_anything() -> None:
    assert ("phone", "13812345678") in found('{"note": "call\\n13812345678\\tsoon"}')
    assert ("email", "a\\u006cice@example.com") in found('"a\\u006cice@example.com"')


@given(st.text(alphabet="0123456789", min_size=15, max_size=15), st.data())
def test_a_card_is_found_however_it_is_grouped(digits: str, data: st.DataObject) -> None:
    number = next(f"4{digits[1:]}{check}" for check in range(10) if luhn(f"4{digits[1:]}{check}"))
    if len(set(number)) == 1:
        return
    separator = data.draw(st.sampled_from(["", " ", "-", "."]))
    grouped = separator.join(number[i : i + 4] for i in range(0, 16, 4))
    assert ("card", grouped) in found(f"my card is {grouped}.")


@given(st.text(alphabet="0123456789", min_size=15, max_size=15))
def test_no_number_with_a_wrong_check_digit_is_a_card(digits: str) -> None:
    wrong = next(
        f"4{digits[1:]}{check}" for check in range(10) if not luhn(f"4{digits[1:]}{check}")
    )
    assert ("card", wrong) not in found(f"number {wrong}!")


@pytest.mark.parametrize(
    "text",
    [
        "a" * 100_000,
        "1 " * 50_000,
        "@" * 50_000,
        "a@" * 50_000,
        "(" * 50_000,
        "12 34 56 78 90 " * 6_000,
        "-----BEGIN " * 8_000,
        "api_key=" * 12_000,
        "好" * 100_000,
        "://a:" * 20_000,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    begun = time.perf_counter()
    assert not Scanner(seconds=PATIENT).scan([Part(text)]).failure
    assert time.perf_counter() - begun < 4


@given(st.text(max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    scan = Scanner(seconds=PATIENT).scan([Part(text), Part(text, json=True)])
    assert not scan.failure
    for one in scan.findings[0]:
        assert 0 <= one.start < one.end <= len(text)


@pytest.mark.parametrize(
    ("word", "text", "hit"),
    [
        ("Falcon", "about FALCON, he", "FALCON"),
        ("Falcon", "falconry", None),
        ("项目猎鹰", "关于项目猎鹰的报告", "项目猎鹰"),
        ("Project Falcon", "Project  Falcon", "Project  Falcon"),
        ("Müller", "Herr Muller kam", "Muller"),
        ("C++ Guide", "the c++ guide!", "c++ guide"),
    ],
)
def test_own_words_are_found_in_any_case_and_width(word: str, text: str, hit: str | None) -> None:
    scan = Scanner([Own("project", words=[word])]).scan([Part(text)])
    assert [text[f.start : f.end] for f in scan.findings[0]] == ([hit] if hit else [])


def test_own_expressions_are_linear_and_checked() -> None:
    nested = Own("x", patterns=[r"(a+)+$"])
    begun = time.perf_counter()
    Scanner([nested]).scan([Part("a" * 50_000 + "b")])
    assert time.perf_counter() - begun < 2
    for pattern in ("(?=a)", "a*", "(", r"\1"):
        with pytest.raises(BadPattern):
            Own("x", patterns=[pattern])


def test_ten_thousand_own_words_cost_little() -> None:
    words = [f"customer{number:05}" for number in range(10_000)]
    scanner = Scanner([Own("customer", words=words)])
    text = "nothing of the sort is said here " * 300 + "customer09999"
    begun = time.perf_counter()
    scan = scanner.scan([Part(text)])
    assert time.perf_counter() - begun < 0.5
    assert [f.label for f in scan.findings[0]] == ["customer"]


def test_a_number_split_over_messages_is_found_in_its_pieces() -> None:
    parts = [
        Part("my card is 4111 1111", "user"),
        Part("go on", "assistant"),
        Part("1111 1111 ok?", "user"),
    ]
    first, second, third = Scanner(seconds=PATIENT).scan(parts).findings
    assert [(f.label, parts[0].text[f.start : f.end]) for f in first] == [("card", "4111 1111")]
    assert second == ()
    assert [(f.label, parts[2].text[f.start : f.end]) for f in third] == [("card", "1111 1111")]


@given(st.lists(st.integers(1, 17), max_size=6, unique=True))
def test_an_id_in_any_number_of_tool_results_is_found(cuts: list[int]) -> None:
    number = "11010519491231002X"
    edges = [0, *sorted(cuts), len(number)]
    parts = [Part(number[a:b], "tool") for a, b in pairwise(edges)]
    scan = Scanner(seconds=PATIENT).scan(parts)
    assert all(
        [(f.label, f.start, f.end) for f in own] == [("national_id", 0, len(part.text))]
        for part, own in zip(parts, scan.findings, strict=True)
    )


def test_a_number_whose_name_is_in_the_message_before_is_found() -> None:
    asked = found("What is your PESEL?", "44051401359")
    assert asked == [("national_id", "44051401359")]
    assert found("44051401359") == []


def test_a_number_of_a_county_that_is_no_more_is_found() -> None:
    assert found("号码110224198001010011") == []
    assert found("号码110224198001010010") == [("national_id", "110224198001010010")]


def test_words_count_beside_chinese_too() -> None:
    assert ("national_id", "111222333") in found("荷兰BSN是111222333。")


def test_a_detector_that_fails_is_told() -> None:
    class Failing:
        def find(self, _: object) -> list[object]:
            raise KeyError("x")

    scanner = Scanner([Failing()])  # pyright: ignore[reportArgumentType]
    assert "failed" in scanner.scan([Part("hello")]).failure


def test_a_scan_that_takes_too_long_is_told() -> None:
    ticks = iter(range(10_000))
    scanner = Scanner(seconds=3, clock=lambda: float(next(ticks)))
    assert "too long" in scanner.scan([Part("hello")]).failure


def test_positions_survive_what_is_dropped_and_shortened() -> None:
    text = "a\u0301 \\u0041\\u006c \u200b\u200bx 41\u200b11 1111 1111 1111 end"
    ((_, hit),) = found(text)
    assert re.sub("[^0-9]", "", hit) == "4111111111111111"
