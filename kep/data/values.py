"""The one form of a value: what 1, 1.0 and "1", or true and "TRUE", are called, whatever file or request they are in.

`kep.data.columns` applies it to whole columns, at ingest and at prediction alike. An exported model has the same
rules: TensorFlow, JavaScript and Python read `RULES` alike.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

# What a table may hold where a value is missing (pyarrow's own list for CSV, and nan in any case).
MISSING_TEXTS = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "N/A", "NA", "NAN", "NULL", "NaN", "Nan", "n/a", "nan", "null",
)  # fmt: skip

_WHOLE = "(?:0|[1-9][0-9]*)"
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
RULES = (
    ("^[Tt][Rr][Uu][Ee]$", "true"),
    ("^[Ff][Aa][Ll][Ss][Ee]$", "false"),
    # +1, .5, 1., 1.0, 1.50 and -0 are 1, 0.5, 1, 1, 1.5 and 0; 01 is a code and stays.
    (rf"^\+({_WHOLE}(?:\.[0-9]*)?|\.[0-9]+)$", r"\1"),
    (r"^(\.[0-9]+)$", r"0\1"),
    (r"^-(\.[0-9]+)$", r"-0\1"),
    (rf"^(-?{_WHOLE})\.0*$", r"\1"),
    (rf"^(-?{_WHOLE}\.[0-9]*[1-9])0+$", r"\1"),
    ("^-0$", "0"),
    # 2024-01-05 07:30:00.000Z is 2024-01-05T07:30, and midnight is the day.
    (rf"^({_DAY})[T ]([0-9:.]+?)(?:Z|[+]00:?00)?$", r"\1T\2"),
    (rf"^({_DAY}T[0-9:]+\.[0-9]*[1-9])0+$", r"\1"),
    (rf"^({_DAY}T[0-9]+:[0-9]+:[0-9]+)\.0*$", r"\1"),
    (rf"^({_DAY}T[0-9]+:[0-9]+):00$", r"\1"),
    (rf"^({_DAY})T00:00$", r"\1"),
)
"""Pattern and replacement of each rule, in their order, for a text without surrounding blanks."""
_COMPILED = [(re.compile(pattern), replacement) for pattern, replacement in RULES]
_STARTS = frozenset("+-.0123456789tTfF")
_SCIENTIFIC = re.compile(rf"[+-]?({_WHOLE}\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]{{1,3}}")
_ZONED = re.compile(rf"{_DAY}[T ][0-9]{{2}}:?[0-9]{{2}}(:?[0-9]{{2}}([.][0-9]+)?)?[+-][0-9]{{2}}(:?[0-9]{{2}})?")
_CODE = re.compile(r"0[0-9]+")
_EXACT = 1e22
"""Whole floats below it are printed digit by digit, as the integers that they are; powers of ten are exact so far."""


@lru_cache(1 << 16)
def canonical(text: str) -> str:
    """Return the one form of a text: of a number, a boolean, a date or a time; any other text as it is.

    Surrounding blanks do not count. Times with a zone are told in UTC; those without are taken to be in UTC.
    """
    text = text.strip()
    if not text or text[0] not in _STARTS:
        return text
    if _SCIENTIFIC.fullmatch(text):
        text = f"{Decimal(text):f}"
    elif _ZONED.fullmatch(text):
        text = _in_utc(text)
    for pattern, replacement in _COMPILED:
        text = pattern.sub(replacement, text)
    return text


def _in_utc(text: str) -> str:
    try:
        return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None).isoformat()
    except (ValueError, OverflowError):  # no day of the calendar
        return text


def canonical_float(number: float, text: str) -> str:
    """Return the one form of a float, whose shortest text is given: 3.0 is 3."""
    if number.is_integer() and abs(number) < _EXACT:
        return str(int(number))
    return canonical(text)


def spelled(value: str | bool | int | float) -> str:
    """Return the one form of a single value, as a request has it."""
    if isinstance(value, str):
        return canonical(value)
    if isinstance(value, float):
        return canonical_float(value, repr(value))
    return str(value).lower()


def class_names(spellings: Iterable[str]) -> dict[str, str]:
    """Return what each spelling is called: as it is spelled where one form has one spelling, else that form."""
    by_form: dict[str, set[str]] = {}
    spellings = list(spellings)
    for text in spellings:
        by_form.setdefault(canonical(text), set()).add(text)
    return {text: text if len(by_form[canonical(text)]) == 1 else canonical(text) for text in spellings}


class Places:
    """Where each of some names is, by its one form.

    Args:
        known: Names, such as a vocabulary or classes.
    """

    def __init__(self, known: Sequence[str]) -> None:
        self._places: dict[str, int] = {}
        self._codes: dict[str, list[int]] = {}
        for place, name in enumerate(known):
            self._places.setdefault(canonical(name), place)
            if _CODE.fullmatch(name):
                self._codes.setdefault(name.lstrip("0") or "0", []).append(place)

    def find(self, form: str, number: bool) -> int | None:
        """Return the place of a value, None where it has none.

        Args:
            form: Its one form.
            number: Whether it was stored as a number. Then it has lost its leading zeros: 1234 is the one code among
                the names that is 1234 but for them, unless 1234 is a name itself.
        """
        place = self._places.get(form)
        if place is None and number and len(alike := self._codes.get(form, [])) == 1:
            return alike[0]
        return place


@lru_cache(1 << 10)
def places(known: tuple[str, ...]) -> Places:
    """Return the `Places` of names, made once."""
    return Places(known)


_SPACE = "[ \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}]"
_UNIT = (
    r"[$€£¥₹%‰]|US\$|USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|SEK|NOK|DKK|PLN|CZK|"
    "kg|mg|g|t|km|cm|mm|m|ml|l|kWh|min|h|s|°C|°F"
)
_EXPONENT = "(?:[eE][+-]?[0-9]+)?"


def _number_pattern(thousands: str, decimal: str) -> re.Pattern[str]:
    marks = f"(?P<mark>[{thousands}'’]|{_SPACE})"
    indian = "[1-9][0-9]{0,2}(?:,[0-9]{2})*,[0-9]{3}" if thousands == "," else "[1-9][0-9]{0,2}[.][0-9]{3}"
    whole = f"[1-9][0-9]{{0,2}}{marks}[0-9]{{3}}(?:(?P=mark)[0-9]{{3}})*|{indian}|[0-9]+"
    digits = f"(?P<digits>(?:{whole})(?:[{decimal}][0-9]+)?|[{decimal}][0-9]+){_EXPONENT}"
    unit, sign = f"(?:{_UNIT})", "[+−-]?"
    return re.compile(
        rf"(?P<open>\()?(?P<sign>{sign})(?P<before>{unit})?{_SPACE}?(?P<after_unit>{sign})(?P<number>{digits})"
        rf"{_SPACE}?(?P<after>{unit})?(?(open)\))"
    )


_NUMBERS = {"point": _number_pattern(",", "."), "comma": _number_pattern(".", ",")}
NUMBER_FORMS = tuple(_NUMBERS)
"""Ways to read a number: 1,234.50 with a decimal point, 1.234,50 with a decimal comma. Blanks and ' may be between
thousands in both; a currency, % or unit of measure before or behind; a minus before, or parentheses around it."""
_DROPPED = {"point": re.compile(f"[,'’]|{_SPACE}"), "comma": re.compile(f"[.'’]|{_SPACE}")}


def read_number(text: str, form: str) -> tuple[float, str] | None:
    """Return the number that a text is in one of `NUMBER_FORMS`, and its unit; None where it is none.

    5 % is 5.
    """
    match = _NUMBERS[form].fullmatch(text.strip())
    if match is None or (match["before"] and match["after"]) or (match["sign"] and match["after_unit"]):
        return None
    plain = _DROPPED[form].sub("", match["number"]).replace(",", ".")
    negative = bool(match["open"]) or (match["sign"] or match["after_unit"]) in ("-", "−")
    return (-float(plain) if negative else float(plain)), match["before"] or match["after"] or ""
