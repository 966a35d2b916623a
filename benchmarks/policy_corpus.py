"""A labelled corpus from a seed: protected and harmless texts, English and Chinese.

Numbers are made, never taken from anybody: valid ones by their check digits, invalid ones by a
wrong one. The sentences here are for measuring alone; the detectors were written against those in
`tests/policy/`.
"""

import base64
import importlib
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import phonenumbers
from stdnum import iban, luhn

from ai_assistant.policy.detectors.own_ids import CHECKS, compact

Make = Callable[[random.Random], str]
DIGITS = string.digits
ALPHANUMERIC = string.ascii_letters + DIGITS


@dataclass(frozen=True)
class Example:
    """One text; `label` is empty where nothing in it is protected."""

    text: str
    label: str
    kind: str
    language: str
    start: int = 0
    end: int = 0


def of(rng: random.Random, alphabet: str, count: int) -> str:
    """So many characters of an alphabet."""
    return "".join(rng.choices(alphabet, k=count))


def day(rng: random.Random, style: str) -> str:
    """A date of birth: Y four digits, y two, m and d two each."""
    year, month, day_ = rng.randint(1940, 2004), rng.randint(1, 12), rng.randint(1, 28)
    parts = {"Y": f"{year}", "y": f"{year % 100:02}", "m": f"{month:02}", "d": f"{day_:02}"}
    return "".join(parts[one] for one in style)


def valid(name: str, number: str) -> bool:
    """Whether check digits and all that the library knows are right."""
    if name in CHECKS:
        return CHECKS[name](compact(number))
    module = importlib.import_module(f"stdnum.{name}")
    return module.is_valid(compact(number)) or module.is_valid(number)


def until(name: str, make: Make, wanted: bool = True) -> Make:
    """The first number that is valid, or that is not."""

    def made(rng: random.Random) -> str:
        for _ in range(20_000):
            number = make(rng)
            if valid(name, number) == wanted:
                return number
        raise RuntimeError(name)

    return made


REGIONS = ("110105", "310104", "440305", "330106", "510107", "420111", "320508", "500112")
# Kind, how a candidate looks, and what people call it in English and Chinese.
IDS: dict[str, tuple[Make, str, str]] = {
    "cn.ric": (
        lambda r: r.choice(REGIONS) + day(r, "Ymd") + of(r, DIGITS, 3) + r.choice(DIGITS + "X"),
        "resident identity number",
        "公民身份号码",
    ),
    "us.ssn": (
        lambda r: f"{of(r, DIGITS, 3)}-{of(r, DIGITS, 2)}-{of(r, DIGITS, 4)}",
        "SSN",
        "美国社会保障号",
    ),
    "br.cpf": (
        lambda r: f"{of(r, DIGITS, 3)}.{of(r, DIGITS, 3)}.{of(r, DIGITS, 3)}-{of(r, DIGITS, 2)}",
        "CPF",
        "巴西税号",
    ),
    "es.dni": (
        lambda r: of(r, DIGITS, 8) + r.choice("TRWAGMYFPDXBNJZSQVHLCKE"),
        "DNI",
        "西班牙身份证",
    ),
    "fr.nir": (
        lambda r: r.choice("12") + day(r, "ym") + f"{r.randint(1, 95):02}" + of(r, DIGITS, 8),
        "numéro de sécurité sociale",
        "法国社会保障号",
    ),
    "pl.pesel": (lambda r: day(r, "ymd") + of(r, DIGITS, 5), "PESEL", "波兰身份证件 PESEL"),
    "kr.rrn": (
        lambda r: f"{day(r, 'ymd')}-{r.choice('12')}{of(r, DIGITS, 6)}",
        "resident registration",
        "韩国身份证",
    ),
    "se.personnummer": (
        lambda r: f"{day(r, 'ymd')}-{of(r, DIGITS, 4)}",
        "personnummer",
        "瑞典身份证",
    ),
    "no.fodselsnummer": (lambda r: day(r, "dmy") + of(r, DIGITS, 5), "fødselsnummer", "挪威身份证"),
    "fi.hetu": (
        lambda r: (
            f"{day(r, 'dmy')}-{of(r, DIGITS, 3)}{r.choice('0123456789ABCDEFHJKLMNPRSTUVWXY')}"
        ),
        "henkilötunnus",
        "芬兰身份证",
    ),
    "in_.aadhaar": (
        lambda r: f"{of(r, DIGITS, 4)} {of(r, DIGITS, 4)} {of(r, DIGITS, 4)}",
        "Aadhaar",
        "印度 Aadhaar",
    ),
    "za.idnr": (
        lambda r: day(r, "ymd") + of(r, DIGITS, 4) + r.choice("01") + of(r, DIGITS, 2),
        "identity document",
        "南非身份证",
    ),
    "nl.bsn": (lambda r: of(r, DIGITS, 9), "BSN", "荷兰 BSN"),
    "de.idnr": (lambda r: of(r, DIGITS, 11), "Steuer-IdNr", "德国税号"),
    "cl.rut": (
        lambda r: (
            f"{r.randint(5, 25)}.{of(r, DIGITS, 3)}.{of(r, DIGITS, 3)}-{r.choice(DIGITS + 'K')}"
        ),
        "RUT",
        "智利 RUT",
    ),
    "tr.tckimlik": (lambda r: of(r, DIGITS, 11), "TC kimlik", "土耳其 TC kimlik"),
    "hong_kong": (
        lambda r: f"{r.choice(string.ascii_uppercase)}{of(r, DIGITS, 6)}({r.choice(DIGITS + 'A')})",
        "Hong Kong ID",
        "香港身份證",
    ),
    "taiwan": (
        lambda r: r.choice(string.ascii_uppercase) + r.choice("12") + of(r, DIGITS, 8),
        "Taiwan ID",
        "台灣身分證字號",
    ),
    "singapore": (
        lambda r: r.choice("STFG") + of(r, DIGITS, 7) + r.choice(string.ascii_uppercase),
        "NRIC",
        "新加坡身份证",
    ),
}


def email(rng: random.Random) -> str:
    """Names and domains as people have them."""
    name = rng.choice(["m.keller", "jo_smith", "li.wei", "wangxiaoming", "k-novak", "tanaka99"])
    host = rng.choice(["gmx.net", "qq.com", "outlook.com", "uni-jena.de", "mail.sina.com.cn"])
    return f"{name}{rng.randint(1, 999)}@{host}"


def hidden_email(rng: random.Random) -> str:
    """As people hide addresses from robots."""
    name, _, host = email(rng).partition("@")
    return f"{name} [at] {host.replace('.', ' [dot] ')}"


def phone(region: str, style: int) -> Make:
    """Of a region, with the last four digits changed."""

    def made(rng: random.Random) -> str:
        example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        assert example is not None
        for _ in range(1000):
            national = example.national_number // 10_000 * 10_000 + rng.randint(0, 9999)
            number = phonenumbers.PhoneNumber(
                country_code=example.country_code, national_number=national
            )
            if phonenumbers.is_valid_number(number):
                return phonenumbers.format_number(number, style)
        raise RuntimeError(region)

    return made


def chinese_mobile(rng: random.Random) -> str:
    """Unbroken or in groups."""
    digits = rng.choice(["130", "136", "139", "150", "159", "177", "186", "189"]) + of(
        rng, DIGITS, 8
    )
    return rng.choice([digits, f"{digits[:3]} {digits[3:7]} {digits[7:]}", f"+86 {digits}"])


def card(rng: random.Random, wrong: int = 0) -> str:
    """Of a known issuer; `wrong` is added to the check digit."""
    prefix, length = rng.choice(
        [
            ("4", 16),
            ("51", 16),
            ("55", 16),
            ("2223", 16),
            ("37", 15),
            ("6011", 16),
            ("622202", 19),
            ("621700", 19),
            ("3530", 16),
        ]
    )
    body = prefix + of(rng, DIGITS, length - len(prefix) - 1)
    number = body + str((int(luhn.calc_check_digit(body)) + wrong) % 10)
    if length == 15:
        return rng.choice([number, f"{number[:4]} {number[4:10]} {number[10:]}"])
    separator = rng.choice(["", " ", "-"])
    return separator.join(number[i : i + 4] for i in range(0, length, 4))


def account(rng: random.Random, wrong: int = 0) -> str:
    """An IBAN of a country without check digits inside."""
    country, shape = rng.choice(
        [
            ("DE", "n" * 18),
            ("GB", "aaaa" + "n" * 14),
            ("CH", "n" * 17),
            ("AT", "n" * 16),
            ("NL", "aaaa" + "n" * 10),
            ("DK", "n" * 14),
        ]
    )
    body = "".join(rng.choice(DIGITS if one == "n" else "ABCDEFGHIKLMNOP") for one in shape)
    checks = (int(iban.calc_check_digits(f"{country}00{body}")) - 2 + wrong) % 97 + 2
    number = f"{country}{checks:02}{body}"
    return rng.choice([number, " ".join(number[i : i + 4] for i in range(0, len(number), 4))])


def token(rng: random.Random) -> str:
    """A key as its issuer makes it."""
    makers: list[Make] = [
        lambda r: "AKIA" + of(r, string.ascii_uppercase + "234567", 16),
        lambda r: "ghp_" + of(r, ALPHANUMERIC, 36),
        lambda r: "glpat-" + of(r, ALPHANUMERIC, 20),
        lambda r: "sk_live_" + of(r, ALPHANUMERIC, 24),
        lambda r: f"xoxb-{of(r, DIGITS, 12)}-{of(r, DIGITS, 12)}-{of(r, ALPHANUMERIC, 24)}",
        lambda r: f"sk-{of(r, ALPHANUMERIC, 20)}T3BlbkFJ{of(r, ALPHANUMERIC, 20)}",
        lambda r: "AIza" + of(r, ALPHANUMERIC, 35),
        lambda r: "hf_" + of(r, string.ascii_lowercase, 34),
        jwt,
    ]
    return rng.choice(makers)(rng)


def jwt(rng: random.Random) -> str:
    """Three parts of base64."""
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
    body = base64.urlsafe_b64encode(b'{"sub":"%d"}' % rng.randint(10**12, 10**13)).decode()
    return f"{head}.{body.rstrip('=')}.{of(rng, ALPHANUMERIC + '-_', 43)}"


def password(rng: random.Random) -> str:
    """As people choose them."""
    word = rng.choice(["Winter", "dragon", "Schatz", "liming", "Passw0rd", "qwert"])
    return f"{word}{rng.randint(10, 9999)}{rng.choice(['!', '', '#', '$x'])}"


def record(rng: random.Random) -> str:
    """A patient's number."""
    return rng.choice(["", "P", "ZY"]) + of(rng, DIGITS, rng.randint(7, 10))


@dataclass(frozen=True)
class Source:
    """Texts of one kind: what is put in, into which sentences."""

    label: str
    kind: str
    make: Make
    english: tuple[str, ...]
    chinese: tuple[str, ...]


def _ids() -> Iterator[Source]:
    for name, (make, english, chinese) in IDS.items():
        yes = (
            f"Her {english} is {{}}, please add it to the form.",
            f"We need a copy. {english}: {{}} (checked yesterday).",
        )
        zh = (f"她的{chinese}是{{}}，请录入系统。", f"附件里有{chinese}：{{}}。")
        yield Source("national_id", name, until(name, make), yes, zh)
        no = ("Ticket {} was closed by the night shift.", "The part {} is out of stock again.")
        not_zh = ("工单{}已经关闭。", "配件{}又缺货了。")
        yield Source("", f"invalid {name}", until(name, make, wanted=False), no, not_zh)


_INTERNATIONAL = phonenumbers.PhoneNumberFormat.INTERNATIONAL
_NATIONAL = phonenumbers.PhoneNumberFormat.NATIONAL


def sources() -> list[Source]:
    """All kinds."""
    plain = ("Forward it to {} before noon.", "The new address is {}; the old one bounces.")
    plain_zh = ("请在中午之前转发给{}。", "新的邮箱地址是{}，旧的已停用。")
    call = ("You can phone her at {} after six.", "Mobile: {}")
    call_zh = ("下班后可以打她的电话{}。", "联系方式：{}，随时联系。")
    pay = ("Charge it to {} as usual.", "The card on file is {} and expires soon.")
    pay_zh = ("请从{}扣款。", "工资卡的卡号为{}，请核对。")
    transfer = ("Transfer the deposit to {} today.", "Refunds go to {}, he wrote.")
    transfer_zh = ("押金请转到{}。", "退款账户是{}，请尽快处理。")
    key = ("I pasted {} into the ticket by mistake.", "export TOKEN={}\nthen run it again")
    key_zh = ("我不小心把{}贴到了群里。", "配置文件里写着 token: {}")
    word = ("The Wi-Fi password is {} since Monday.", "Log in with password: {}")
    word_zh = ("服务器的密码是{}，别外传。", "登录密码：{}")
    patient = ("Please pull the chart, MRN {} from ward 3.", "Patient ID: {}, admitted on Tuesday.")
    patient_zh = ("请调取病历，病历号{}。", "患者住院号：{}，周二入院。")
    no = ("See {} in the list below.", "It says {} on the label.", "Reference {} was archived.")
    no_zh = ("见下表中的{}。", "标签上写着{}。", "编号{}已归档。")
    found = [
        Source("email", "email", email, plain, plain_zh),
        Source("email", "hidden email", hidden_email, plain, plain_zh),
        Source("phone", "Chinese mobile", chinese_mobile, call, call_zh),
        *(
            Source("phone", f"{r} international", phone(r, _INTERNATIONAL), no, no_zh)
            for r in ("US", "GB", "DE", "FR", "JP", "BR", "IN")
        ),
        *(
            Source("phone", f"{r} national", phone(r, _NATIONAL), call, call_zh)
            for r in ("US", "GB", "DE", "FR", "IN")
        ),
        Source("card", "card", card, pay, pay_zh),
        Source("iban", "iban", account, transfer, transfer_zh),
        Source("secret", "key", token, key, key_zh),
        Source("secret", "password", password, word, word_zh),
        Source("medical_record", "record", record, patient, patient_zh),
        Source(
            "ip_address",
            "IPv4",
            lambda r: (
                f"{r.randint(11, 99)}.{r.randint(0, 255)}.{r.randint(0, 255)}.{r.randint(1, 254)}"
            ),
            no,
            no_zh,
        ),
        *_ids(),
        Source("", "invalid card", lambda r: card(r, r.randint(1, 9)), no, no_zh),
        Source("", "invalid iban", lambda r: account(r, r.randint(1, 90)), no, no_zh),
        Source("", "order number", lambda r: of(r, DIGITS, r.randint(8, 12)), no, no_zh),
        Source(
            "",
            "date and time",
            lambda r: f"{day(r, 'Y')}-{day(r, 'm')}-{day(r, 'd')} 08:15:30",
            no,
            no_zh,
        ),
        Source(
            "",
            "amount",
            lambda r: f"{r.randint(1, 9)},{of(r, DIGITS, 3)},{of(r, DIGITS, 3)}.00",
            no,
            no_zh,
        ),
        Source("", "commit", lambda r: of(r, "0123456789abcdef", 40), no, no_zh),
        Source(
            "",
            "UUID",
            lambda r: "-".join(of(r, "0123456789abcdef", n) for n in (8, 4, 4, 4, 12)),
            no,
            no_zh,
        ),
        Source(
            "",
            "package",
            lambda r: f"left-pad@{r.randint(1, 9)}.{r.randint(0, 9)}.{r.randint(0, 99)}",
            no,
            no_zh,
        ),
        Source("", "mention", lambda r: f"@{of(r, string.ascii_lowercase, 8)}", no, no_zh),
        Source(
            "",
            "version",
            lambda r: f"v{r.randint(1, 9)}.{r.randint(0, 20)}.{r.randint(0, 20)}",
            no,
            no_zh,
        ),
        Source(
            "",
            "ISBN",
            lambda r: f"978-3-{of(r, DIGITS, 2)}-{of(r, DIGITS, 6)}-{of(r, DIGITS, 1)}",
            no,
            no_zh,
        ),
        Source(
            "", "identifier", lambda r: f"get{of(r, string.ascii_letters, 12)}Handler", no, no_zh
        ),
        Source(
            "",
            "talk of passwords",
            lambda r: r.choice(["long", "rotated every quarter", "hashed"]),
            ("A good password is {}, they say.",),
            ("好的密码是{}的。",),
        ),
        Source(
            "",
            "room",
            lambda r: of(r, DIGITS, 5),
            ("The patient waits in room {}.",),
            ("请到{}室等候。",),
        ),
    ]
    return found


def corpus(seed: int, each: int) -> list[Example]:
    """`each` texts of every kind in either language."""
    rng = random.Random(seed)
    examples: list[Example] = []
    for source in sources():
        for language, sentences in (("en", source.english), ("zh", source.chinese)):
            for _ in range(each):
                value, sentence = source.make(rng), rng.choice(sentences)
                start = sentence.index("{}")
                text = sentence.format(value)
                examples.append(
                    Example(text, source.label, source.kind, language, start, start + len(value))
                )
    return examples


_PROSE = {
    "en": (
        "The committee met on Thursday and agreed to postpone the decision until figures are in.",
        "In the second chapter the author describes how the harbour grew after the railway came.",
        "If the function returns early, the caller must release the lock, or it waits forever.",
        "Between 2019 and 2023 the number of visitors rose by 14.5 %, mostly in spring and autumn.",
        "Could you summarise the attached minutes in five sentences and list the open questions?",
        "Mix 250 g of flour with 120 ml of water, add salt, and let it rest for 45 minutes.",
    ),
    "zh": (
        "委员会周四开会，决定等数据齐全之后再作决定。",
        "第二章描述了铁路通车之后港口是如何发展起来的。",
        "如果函数提前返回，调用者必须释放锁，否则会一直等待。",
        "从2019年到2023年，游客人数增长了14.5%，主要集中在春季和秋季。",
        "请把附件中的会议纪要概括成五句话，并列出尚未解决的问题。",
        "将250克面粉与120毫升水混合，加盐，静置45分钟。",
    ),
}


def documents(
    seed: int, language: str, count: int, *, protected: int, size: int = 1000
) -> list[str]:
    """Prose of about `size` characters with so many protected texts in each thousand."""
    rng = random.Random(seed)
    pool = [one.text for one in corpus(seed + 1, 6) if one.language == language and one.label]
    gap = "" if language == "zh" else " "
    made: list[str] = []
    for _ in range(count):
        sentences: list[str] = []
        while sum(map(len, sentences)) < size - 60 * protected * size // 1000:
            sentences.append(rng.choice(_PROSE[language]))
        sentences += rng.sample(pool, protected * size // 1000)
        rng.shuffle(sentences)
        made.append(gap.join(sentences))
    return made
