"""National numbers of people: their shapes, whose check digits decide, and the words beside them.

A kind that stands alone has a shape and check digits that hardly any other number meets. The
others count only beside a word that says what they are.
"""

from typing import NamedTuple


class Kind(NamedTuple):
    """One sort of number."""

    name: str
    """A module of python-stdnum, or a name in `own_ids`; empty: the shape is all there is."""
    shape: str
    """RE2, any case."""
    alone: bool = False
    words: str = ""
    """Beside those of every country; small letters."""


EVERYWHERE = (
    r"national (?:id|insurance|number|identity|identification)|identity (?:card|no|num|number|doc)"
    r"|\bid (?:card|number|no\.?|num)\b|identification (?:no|num|number|code)|citizen|passport"
    r"|personal (?:id|identity|identification|code|number)"
    r"|tax(?:payer)?(?:'s)? (?:id|no|num|ref|file)"
    r"|social (?:security|insurance)|resident"
    r"|身份证|身份證|证件|證件|公民身份|护照|護照|社会保障|税号"
)

KINDS = (
    Kind("chinese", r"\d(?:[ -]?\d){16}[ -]?[\dX]", alone=True),
    Kind("old_chinese", r"\d{15}", words="身份"),
    Kind("hong_kong", r"[A-Z]{1,2} ?\d{6} ?\([\dA]\)", alone=True),
    Kind("hong_kong", r"[A-Z]{1,2}\d{6}[\dA]", words="hkid|香港"),
    Kind("taiwan", r"[A-Z][1289]\d{8}", alone=True),
    Kind("singapore", r"[STFGM]\d{7}[A-Z]", alone=True),
    Kind("kr.rrn", r"\d{6}-\d{7}", alone=True),
    Kind("kr.rrn", r"\d{13}", words="주민|rrn|resident registration"),
    Kind("jp.in_", r"\d{4}[ -]?\d{4}[ -]?\d{4}", words="my ?number|マイナンバー|個人番号"),
    Kind("in_.aadhaar", r"\d{4}[ -]?\d{4}[ -]?\d{4}", words="aadhaar|aadhar|uidai|आधार"),
    Kind("in_.pan", r"[A-Z]{3}P[A-Z]\d{4}[A-Z]", alone=True),
    Kind("id.nik", r"\d{16}", words=r"\bnik\b|\bktp\b|penduduk"),
    Kind("my.nric", r"\d{6}-\d{2}-\d{4}", alone=True),
    Kind("my.nric", r"\d{12}", words="nric|mykad|kad pengenalan"),
    Kind("th.pin", r"\d-\d{4}-\d{5}-\d{2}-\d", alone=True),
    Kind("th.pin", r"\d{13}", words="ประชาชน|thai id"),
    Kind("pk.cnic", r"\d{5}-\d{7}-\d", alone=True),
    Kind("il.idnr", r"\d{8,9}|\d{8}-\d", words="זהות|teudat|israeli id"),
    Kind("tr.tckimlik", r"\d{11}", words=r"kimlik|\btckn?\b"),
    Kind("us.ssn", r"\d{3}[ -]\d{2}[ -]\d{4}", alone=True),
    Kind("us.ssn", r"\d{9}", words=r"\bssn\b"),
    Kind("us.itin", r"\d{3}[ -]\d{2}[ -]\d{4}", alone=True),
    Kind("ca.sin", r"\d{3}[ -]?\d{3}[ -]?\d{3}", words=r"\bsin\b|\bnas\b"),
    Kind("mx.curp", r"[A-Z]{4}\d{6}[A-Z]{6}[A-Z\d]\d", alone=True),
    Kind("mx.rfc", r"[A-Z]{4}-?\d{6}-?[A-Z\d]{3}", words=r"\brfc\b"),
    Kind("br.cpf", r"\d{3}\.\d{3}\.\d{3}-\d{2}", alone=True),
    Kind("br.cpf", r"\d{9}-?\d{2}", words=r"\bcpf\b"),
    Kind("cl.rut", r"\d{1,2}\.\d{3}\.\d{3}-[\dK]", alone=True),
    Kind("cl.rut", r"\d{7,8}-?[\dK]", words=r"\brut\b|\brun\b"),
    Kind("ar.cuit", r"\d{2}-\d{8}-\d", alone=True),
    Kind("ar.dni", r"\d{2}\.?\d{3}\.?\d{3}", words=r"\bdni\b"),
    Kind("do.cedula", r"\d{3}-\d{7}-\d", alone=True),
    Kind("co.nit", r"\d{8,10}-\d", words=r"\bnit\b|c[ée]dula"),
    Kind("pe.cui", r"\d{8}-?[\dA-K]", words=r"\bdni\b|\bcui\b"),
    Kind("ec.ci", r"\d{10}|\d{9}-\d", words=r"c[ée]dula|\bci\b"),
    Kind("cu.ni", r"\d{11}", words="carn[ée]|cuba"),
    Kind("nino", r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]", alone=True),
    Kind("gb.utr", r"\d{5} ?\d{5}", words=r"\butr\b"),
    Kind("ie.pps", r"\d{7}[A-W][AHWTX]?", words=r"\bpps"),
    Kind("fr.nir", r"[12] ?\d{2} ?\d{2} ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}", alone=True),
    Kind("be.nn", r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", alone=True),
    Kind("be.nn", r"\d{11}", words="rijksregister|registre national|niss|insz"),
    Kind("nl.bsn", r"\d{9}|\d{4}\.\d{2}\.\d{3}", words=r"\bbsn\b|burgerservice"),
    Kind("de.idnr", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", words="steuer|idnr|identifikationsnummer"),
    Kind("at.vnr", r"\d{4} ?\d{6}", words="versicherungsnummer|svnr|sozialversicherung"),
    Kind("ch.ssn", r"756\.?\d{4}\.?\d{4}\.?\d{2}", alone=True),
    Kind(
        "it.codicefiscale",
        r"[A-Z]{6}[\dLMNP-V]{2}[A-Z][\dLMNP-V]{2}[A-Z][\dLMNP-V]{3}[A-Z]",
        alone=True,
    ),
    Kind("es.dni", r"\d{8}-?[A-Z]", alone=True),
    Kind("es.nie", r"[XYZ]-?\d{7}-?[A-Z]", alone=True),
    Kind("pt.nif", r"\d{3} ?\d{3} ?\d{3}", words=r"\bnif\b|contribuinte"),
    Kind("pt.cc", r"\d{8} ?\d ?[A-Z]{2}\d", alone=True),
    Kind("gr.amka", r"\d{11}", words="amka|αμκα"),
    Kind("dk.cpr", r"\d{6}-?\d{4}", words=r"\bcpr\b|personnummer"),
    Kind("se.personnummer", r"\d{6}[-+]\d{4}|\d{8}-\d{4}", alone=True),
    Kind("se.personnummer", r"\d{10}|\d{12}", words="personnummer"),
    Kind("no.fodselsnummer", r"\d{6} ?\d{5}", alone=True),
    Kind("fi.hetu", r"\d{6}[-+A-FU-Y]\d{3}[\dA-Y]", alone=True),
    Kind("is_.kennitala", r"\d{6}-?\d{4}", words="kennital"),
    Kind("ee.ik", r"\d{11}", words="isikukood|estonia"),
    Kind("lt.asmens", r"\d{11}", words="asmens"),
    Kind("pl.pesel", r"\d{11}", words="pesel"),
    Kind("cz.rc", r"\d{6}/\d{3,4}", alone=True),
    Kind("ro.cnp", r"\d{13}", alone=True),
    Kind("bg.egn", r"\d{10}", words="егн|egn"),
    Kind("hr.oib", r"\d{11}", words=r"\boib\b"),
    Kind("si.emso", r"\d{13}", alone=True),
    Kind("ru.inn", r"\d{12}", words="инн|\binn\b"),
    Kind("ua.rntrc", r"\d{10}", words="рнокпп|іпн"),
    Kind("za.idnr", r"\d{13}|\d{6} ?\d{4} ?\d{3}", alone=True),
    Kind("au.tfn", r"\d{3} ?\d{3} ?\d{2,3}", words=r"\btfn\b"),
    Kind("nz.ird", r"\d{2,3}-?\d{3}-?\d{3}", words=r"\bird\b"),
    Kind("passport", r"[A-Z]{1,2}\d{7,8}|\d{9}", words="passport|护照|護照|reisepass|passeport"),
)
