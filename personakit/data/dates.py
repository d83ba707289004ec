"""Dates of histories: one rule for all file types.

Read are ISO 8601, numbers of seconds (or milli-, micro-, nanoseconds) since 1970, the date formats of e-mails
and of Twitter, month names in English, and spreadsheets' 15.01.2020 and 1/15/2020. A time with a zone is
converted to UTC; one without is taken as UTC. Written are `2020-01-15`, `2020-01-15T08:30:00` if there is a
time of day, and years and months without a day as they are.

Whether a column has the day or the month first is decided by its values, never by a default.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from personakit.data.missing import is_missing
from personakit.data.skips import SkipCounts
from personakit.errors import UserError

Order = Literal["day", "month"]
MISSING = "items without a date"
UNREADABLE = "items whose date cannot be read"
_EXPECTED = "write dates as YYYY-MM-DD"
_YEAR_OR_MONTH = re.compile(r"\d{4}(-\d\d)?")
_YEAR_FIRST = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?:(?:T|,?\s+)(\S.*))?")
_YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})(?:,?\s+(\S.*))?")
_TIME = re.compile(
    r"(\d{1,2}):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s*([AaPp])?(?(5)\.?[Mm]\.?)\s*"
    r"(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?"
)
_EMAIL = re.compile(r"(?:[A-Za-z]{3},\s*)?\d{1,2} [A-Za-z]{3} \d{4} \d\d:\d\d.*")
_COMPACT = {8: "%Y%m%d", 14: "%Y%m%d%H%M%S"}
_NAMED = (
    "%a %b %d %H:%M:%S %z %Y",  # Twitter
    *(
        f"{day}{time}"
        for day in ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y")
        for time in ("", " %H:%M")
    ),
)
_UNITS = ((1e8, 1e10, 1.0), (1e11, 1e13, 1e3), (1e14, 1e16, 1e6), (1e17, 1e19, 1e9))  # 1973 to 2286
_DIGITS = re.compile(r"\d+")


def read_dates(values: Sequence[tuple[str, Any]], column: str, counts: SkipCounts) -> list[str | None]:
    """Return the dates of a column, given its (place, value) pairs.

    A missing or invalid date is None and counted. Raises `UserError` if day and month cannot be told apart,
    or if no date of the column can be read.
    """
    order = _order(values, column)
    dates: list[str | None] = []
    for place, value in values:
        date_text = None
        if is_missing(value):
            counts.add(MISSING, place)
        else:
            try:
                date_text = parse_date(value, order)
            except (ValueError, OverflowError):
                counts.add(UNREADABLE, f'{place}: "{value!s:.40}"')
        dates.append(date_text)
    unreadable = counts.report.get(UNREADABLE)
    if unreadable is not None and not any(dates):
        raise UserError(
            f'{unreadable.first}, in the column "{column}": no date of it can be read, expected YYYY-MM-DD',
            hint=f"{_EXPECTED}, or remove the column",
        )
    return dates


def parse_date(value: Any, order: Order | None = None) -> str:
    """Return a date as text. `order` says what stands first in 1/2/2020.

    Raises `ValueError` if it is not a date, not in the calendar, or ambiguous.
    """
    if isinstance(value, bool):
        raise ValueError("a truth value")
    if isinstance(value, date):  # of Parquet; a datetime is a date
        return _text(value)
    text = str(value).strip()
    if _YEAR_OR_MONTH.fullmatch(text):
        datetime.strptime(text, "%Y-%m" if "-" in text else "%Y")
        return text
    number = _number(value, text)
    if number is not None:
        return _text(number)
    year_first, year_last = _YEAR_FIRST.fullmatch(text), _YEAR_LAST.fullmatch(text)
    if year_first is not None:
        year, _, month, day, time = year_first.groups()
        return _text(_moment(int(year), int(month), int(day), time))
    if year_last is not None:
        first, separator, second, year, time = year_last.groups()
        if separator == ".":  # only written with the day first
            order = "day"
        if order is None and first != second:
            raise ValueError("day and month cannot be told apart")
        day, month = (second, first) if order == "month" else (first, second)
        return _text(_moment(int(year), int(month), int(day), time))
    for form in _NAMED:
        with contextlib.suppress(ValueError):
            read = datetime.strptime(text, form)
            return _text(read if "%H" in form else read.date())
    with contextlib.suppress(ValueError):
        return _text(datetime.fromisoformat(text))
    if _EMAIL.fullmatch(text):
        return _text(parsedate_to_datetime(text))
    raise ValueError("not a date")


def date_key(text: str) -> tuple[int, ...]:
    """Return a sort key for dates with the year first.

    Times with a zone are compared as UTC; what is no date by its numbers, as in LaMP's `rank_profiles.py`.
    """
    with contextlib.suppress(ValueError, OverflowError):
        text = parse_date(text)
    return tuple(int(digits) for digits in _DIGITS.findall(text))


def in_calendar(text: str) -> bool:
    """Return whether a text is a date that exists."""
    try:
        parse_date(text)
    except (ValueError, OverflowError):
        return False
    return True


def _text(value: date) -> str:
    if not isinstance(value, datetime):
        return value.isoformat()
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    is_midnight = not (value.hour or value.minute or value.second or value.microsecond)
    return value.date().isoformat() if is_midnight else datetime.isoformat(value.replace(fold=0))


def _number(value: Any, text: str) -> datetime | date | None:
    """Return a date that is written as one number: 20200115, or the time since 1970 in a usual unit."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if text.isdigit() and len(text) in _COMPACT:
        with contextlib.suppress(ValueError):
            read = datetime.strptime(text, _COMPACT[len(text)])
            return read if len(text) == 14 else read.date()
    for low, high, per_second in _UNITS:
        if low <= number < high:
            return datetime(1970, 1, 1) + timedelta(seconds=number / per_second)
    raise ValueError("a number that is no time since 1970")


def _moment(year: int, month: int, day: int, time: str | None) -> datetime | date:
    if time is None:
        return date(year, month, day)
    found = _TIME.fullmatch(time.strip())
    if found is None:
        raise ValueError("not a time of day")
    hour, minute, second, fraction, half, zone = found.groups()
    hours = int(hour)
    if half is not None:
        if not 1 <= hours <= 12:
            raise ValueError("not an hour of a twelve-hour clock")
        hours = hours % 12 + (12 if half in "Pp" else 0)
    micro = int((fraction or "0").ljust(6, "0")[:6])
    read = datetime(year, month, day, hours, int(minute), int(second or 0), micro)
    if zone is None or zone in ("Z", "UTC", "GMT"):
        return read
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:].strip(":") or 0))
    return read - offset if zone[0] == "+" else read + offset


def _order(values: Sequence[tuple[str, Any]], column: str) -> Order | None:
    """Return what stands first in the column's dates: a number above 12 is a day."""
    seen: dict[Order, str] = {}
    unclear = None
    for place, value in values:
        found = _YEAR_LAST.fullmatch(value.strip()) if isinstance(value, str) else None
        if found is None or found.group(2) == ".":
            continue
        first, second = int(found.group(1)), int(found.group(3))
        if first <= 12 < second:
            seen.setdefault("month", f'{place}: "{value}"')
        elif second <= 12 < first:
            seen.setdefault("day", f'{place}: "{value}"')
        elif first != second and unclear is None:
            unclear = f'{place}: "{value}"'
    if len(seen) == 2:
        raise UserError(
            f'{seen["day"]} has the day first, {seen["month"]} the month, in one column "{column}", '
            "expected one order",
            hint=_EXPECTED,
        )
    if unclear is not None and not seen:
        raise UserError(
            f'{unclear}: day and month cannot be told apart in the column "{column}", expected YYYY-MM-DD',
            hint=_EXPECTED,
        )
    return next(iter(seen), None)
