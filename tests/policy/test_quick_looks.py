"""What decides quickly that there is nothing must never hide anything."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_assistant.policy.detectors import addresses, emails, ibans, secrets
from ai_assistant.policy.view import _FOLD, _MANY, View

ODD = st.text(
    alphabet="@%40 atAT(){}<>[]dot.:/-+_=Pp密码口令秘钥私鑰inwd'\"19aFz\n\t?é，²⁻ı", max_size=60
)
NEAR = st.lists(
    st.one_of(
        ODD,
        st.sampled_from(
            ["DE89 3704 0044 0532 0130 00", "GB82-WEST-1234-5698-7654-32", "10.20.30.40", "::1",
             "2001:db8::ff00:42:8329", "m.keller (at) gmx [dot] net", "x%40y.org", "PIN Code: 1234",
             "Passphrase is Ab3$efgh", "密碼：Ab12345", "A" * 27, "b3" * 14, "=" * 3]
        ),
    ),
    max_size=8,
).map("".join)  # fmt: skip


@given(NEAR)
def test_a_candidate_for_an_account_is_always_looked_at(text: str) -> None:
    view = View(text)
    if ibans._CANDIDATE.search(view.text):
        assert ibans._POSSIBLE.fits(view.ascii)


@given(NEAR)
def test_a_long_word_is_always_looked_at(text: str) -> None:
    view = View(text)
    if secrets._BARE.search(view.text):
        assert secrets._LONG.fits(view.ascii)


@given(NEAR)
def test_an_address_of_version_6_is_always_looked_at(text: str) -> None:
    if addresses._V6.search(text):
        assert addresses._COLONS.search(text)


PLAIN_V4 = re.compile(r"(?<![A-Za-z0-9_.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![A-Za-z0-9_]|\.[0-9])")
PLAIN_AT = re.compile(r"@|%40|[\[({<]\s?at\s?[\])}>]\s?", re.IGNORECASE)
PLAIN_PASSWORD = re.compile(
    r"(?:password|passwd|passphrase|passcode|\bpwd|\bpin(?: code)?"
    r"|密码|密碼|口令|密钥|密鑰|秘钥|秘鑰|私钥|私鑰)"
    r"[\"'`*]{0,2}\s{0,2}(?:is|was|for \S{1,40} is|[:=：]|=>|为|是)[:：]?\s{0,3}[\"'`*]{0,2}"
    r"([!-~]{4,80})",
    re.IGNORECASE | re.ASCII,
)


@pytest.mark.parametrize(
    ("quick", "plain"),
    [
        (addresses._V4, PLAIN_V4),
        (emails._AT, PLAIN_AT),
        (secrets._PASSWORD, PLAIN_PASSWORD),
    ],
)
@given(text=NEAR)
def test_the_quick_expression_finds_what_the_plain_one_finds(
    quick: re.Pattern[str], plain: re.Pattern[str], text: str
) -> None:
    found = [(*match.span(), match.groups()) for match in quick.finditer(text)]
    assert found == [(*match.span(), match.groups()) for match in plain.finditer(text)]


@given(st.text(max_size=60))
def test_one_after_the_other_folds_as_all_at_once(text: str) -> None:
    plain = "".join(_FOLD[ord(one)] for one in text)
    assert View(text.replace("\\", "")).text == plain.replace("\\", "") or "\\" in plain


def test_every_plain_form_is_plain() -> None:
    for code in range(0x30000):
        if not 0xD800 <= code <= 0xDFFF:
            assert all(_FOLD[ord(one)] == one for one in _FOLD[code])


def test_many_different_characters_fold_as_few_do() -> None:
    wide = "".join(map(chr, range(0xFF01, 0xFF01 + 2 * _MANY)))
    assert View(wide).text == "".join(View(one).text for one in wide)
