"""The CloudEvents 1.0 envelope, and the bounds that every event's values share."""

from __future__ import annotations

import datetime as dt
import re
from collections import abc
from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
"""A name or an identifier: 1 to 256 characters, no NUL."""

Instant = Annotated[dt.datetime, msgspec.Meta(tz=True)]
"""An RFC 3339 time with its offset."""

Float = Annotated[float, msgspec.Meta(ge=-1e18, le=1e18)]
"""A measured value: a finite number of at most 1e18 in size."""

Sequence = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,18}$")]
"""CloudEvents' `sequence` extension: an integer, or a decimal string of at most 18 digits."""

FRACTION_DIGITS = 18
"""Digits after the point that money and quantities keep; as many stand before it."""

Amount = Annotated[
    msgspec.Raw,
    msgspec.Meta(
        description="An exact decimal: a number, or a string of digits. At most 18 digits before and 18 after the point.",
        extra_json_schema={"anyOf": [{"type": "number"}, {"type": "string"}]},
    ),
]
"""Money, a price or a quantity in the digits of its sender: a JSON number or a decimal string. Once accepted it is plain digits,
`-?` 1 to 18 digits, and a point with 1 to 18 more, which no number type has to hold on the way to the database."""

PLAIN = r"[0-9]{1,18}(?:\.[0-9]{1,18})?"
"""The pattern of an amount of at least 0 in plain digits."""

_PLAIN = re.compile("-?" + PLAIN).fullmatch
_PLAIN_BYTES = re.compile(b"-?" + PLAIN.encode()).fullmatch
_WIDE = Context(prec=120, rounding=ROUND_HALF_EVEN, Emax=999999, Emin=-999999)
_QUANTUM = Decimal(1).scaleb(-FRACTION_DIGITS)
_LIMIT = Decimal(10) ** 18
_EXPECTED = "expected a finite number with at most 18 digits before and 18 after the point"


class InvalidEvent(ValueError):
    """An event breaks its contract; the message starts with the field, as in `data.side: expected buy or sell`."""


class Data(msgspec.Struct, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an event of one kind says. A field that the contract does not know is refused: it may be a misspelt one."""

    def check(self) -> None:
        """Checks what the types alone cannot say, and brings amounts into plain digits. Raises InvalidEvent."""

    @classmethod
    def settle(cls, many: abc.Sequence[Self]) -> bool:
        """One look at many: whether `check` lets each of them pass as it is; then all are complete, too.

        False says only that each needs its own look. Some of them may be complete by then.
        """
        return not many

    def complete(self) -> None:
        """Fills in what is computed at acceptance, once it is checked. Raises InvalidEvent."""


class Event(msgspec.Struct, gc=False, kw_only=True, tag_field="type"):
    """One CloudEvent. Its identity is (organization, type, source, id), or (…, source, sequence) where `sequence` is given.

    Extension attributes other than `sequence` are allowed, as CloudEvents wants it, and not kept.
    """

    kind: ClassVar[str]

    specversion: Literal["1.0"]
    id: Text
    source: Text
    time: Instant
    data: Any
    sequence: Sequence | None = None

    @property
    def type(self) -> str:
        """The event's kind: system, enterprise, trade or view."""
        return type(self).kind


def amount(value: Decimal) -> Amount:
    """An exact decimal as an amount; its digits are kept as they are."""
    return msgspec.Raw(f"{value:f}".encode())


def decimal(value: Amount) -> Decimal:
    """The number that an accepted amount stands for."""
    return Decimal(bytes(value).decode())


def plain(field: str, value: Amount) -> Amount:
    """The amount in plain digits; raises InvalidEvent where it is no number that 18 digits before and after the point can hold."""
    if _PLAIN_BYTES(value):
        return value
    try:
        found = msgspec.json.decode(value, type=Decimal)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidEvent(f"{field}: {_EXPECTED}") from None
    return amount(exact(field, found))


def exact(field: str, value: Decimal) -> Decimal:
    """Returns the number, or raises InvalidEvent where 18 digits before and after the point cannot hold it."""
    if _PLAIN(str(value)):
        return value
    if value.is_finite() and -30 <= value.adjusted() < FRACTION_DIGITS and len(value.as_tuple().digits) <= 64:
        digits = f"{value.normalize(_WIDE):f}"
        if _PLAIN(digits):
            return Decimal(digits)
    raise InvalidEvent(f"{field}: {_EXPECTED}")


def rounded(field: str, value: Decimal) -> Amount:
    """A computed amount, half-even to 18 fractional digits; raises InvalidEvent where it needs more than 18 integer digits."""
    text = str(value)
    if not _PLAIN(text):
        result = value.quantize(_QUANTUM, context=_WIDE)
        if abs(result) >= _LIMIT:
            raise InvalidEvent(f"{field}: has more than 18 digits before the point")
        text = f"{result:f}" if result else "0"
    return msgspec.Raw(text.encode())


def wide() -> Context:
    """The decimal context in which acceptance computes: wide enough that only the final rounding loses a digit."""
    return _WIDE


def texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yields every string inside decoded JSON with the path of its field."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"{path}.{key}" if path else str(key), str(key)
            yield from texts(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from texts(item, f"{path}[{position}]")
