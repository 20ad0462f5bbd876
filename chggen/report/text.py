"""Numbers, formulas and symbols as a chemist writes them."""

import math
import re
from typing import Final

from markupsafe import Markup, escape

from chggen.structure.composition import ATOMIC_NUMBERS

_MINUS: Final = "\N{MINUS SIGN}"
_DIGITS: Final = re.compile(r"(\d+)")
_FORMULA: Final = re.compile(r"\b(?:[A-Z][a-z]?\d*|\((?:[A-Z][a-z]?\d*)+\)\d*)+(?![a-z-])")
_SUBSCRIPT: Final = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_NONE: Final = "–"
#: An uncertainty below this (eV/atom) is not shown.
_EXACT: Final = 5e-5
_PERCENT: Final = "\N{NARROW NO-BREAK SPACE}%"


def missing(value: object) -> bool:
    """True for None, NaN and pandas' NA."""
    if value is None:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    return str(value) == "<NA>"


def number(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """A number with a true minus sign; a dash if there is none.

    Args:
        value: the number.
        digits: after the decimal point.
        signed: with a plus sign too.
    """
    if value is None or missing(value):
        return _NONE
    text = f"{float(value):+.{digits}f}" if signed else f"{float(value):.{digits}f}"
    if float(text) == 0:
        text = f"{0:.{digits}f}"  # never −0.00
    return text.replace("-", _MINUS)


def significant(value: float | None) -> str:
    """A measured number with about three significant digits."""
    if value is None or missing(value):
        return _NONE
    size = abs(float(value))
    if float(value).is_integer() and size >= 1:
        return count(int(value)).replace("-", _MINUS)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3  # noqa: PLR2004
    return number(value, digits)


def milli(value: float | None, digits: int | None = None) -> str:
    """EV as meV: whole ones, except where that would be 0."""
    if value is None or missing(value):
        return _NONE
    if digits is None:
        digits = 1 if 0.05 <= abs(1000.0 * value) < 1 else 0  # noqa: PLR2004
    return number(1000.0 * float(value), digits)


def plus_minus(uncertainty: float | None) -> str:
    """`` ± 12`` after an energy in meV; nothing for one that is exact or of unknown uncertainty."""
    if uncertainty is None or missing(uncertainty) or uncertainty < _EXACT:
        return ""
    return f" ± {milli(uncertainty)}"


def count(value: int) -> str:
    """An integer with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def percent(value: float | None) -> str:
    """A rate as per cent, without false precision."""
    if value is None or missing(value):
        return _NONE
    share = 100.0 * float(value)
    digits = 1 if 0 < share < 10 or 90 < share < 100 else 0  # noqa: PLR2004
    return f"{share:.{digits}f}{_PERCENT}"


def interval(low: float | None, high: float | None) -> str:
    """Ends of an interval of a rate, in per cent."""
    if low is None or high is None or missing(low) or missing(high):
        return _NONE
    ends = [100.0 * float(low), 100.0 * float(high)]
    digits = 1 if ends[1] < 10 else 0  # noqa: PLR2004
    return f"{ends[0]:.{digits}f}\N{EN DASH}{ends[1]:.{digits}f}{_PERCENT}"


def plural(n: int, one: str, many: str = "") -> str:
    """``1 structure``, ``2 structures``.

    Args:
        n: how many.
        one: the noun in the singular.
        many: in the plural; with an s if not given.
    """
    return f"{count(n)} {one if n == 1 else many or one + 's'}"


def formula(text: object) -> Markup:
    """A formula with subscripts."""
    return Markup(_DIGITS.sub(r"<sub>\1</sub>", str(escape(text))))  # noqa: S704 - escaped


def plain_formula(text: str) -> str:
    """A formula with Unicode subscripts, where there is no markup (drawings)."""
    return text.translate(_SUBSCRIPT)


def products(text: object) -> Markup:
    """Formulas inside running text with subscripts, other digits left alone."""
    return Markup(_FORMULA.sub(_if_elements, str(escape(text))))  # noqa: S704 - escaped


def _if_elements(match: re.Match[str]) -> str:
    known = all(symbol in ATOMIC_NUMBERS for symbol in re.findall(r"[A-Z][a-z]?", match[0]))
    return _DIGITS.sub(r"<sub>\1</sub>", match[0]) if known else match[0]


def product_names(value: object) -> Markup:
    """The phases of a decomposition without their fractions, as in a sentence."""
    names = [products(part.split()[-1]) for part in str(value).split("+") if part.strip()]
    if len(names) <= 1:
        return Markup("").join(names)
    return Markup(", ").join(names[:-1]) + Markup(" and ") + names[-1]


def space_group(symbol: object) -> Markup:
    """A Hermann-Mauguin symbol: letters in italics, bars over, screws under."""
    if missing(symbol) or not symbol:
        return Markup("–")
    out = re.sub(r"[A-Za-z]+", r"<i>\g<0></i>", str(escape(symbol)))
    out = re.sub(r"-(\d)", r"<b>\1</b>", out)  # the style sheet draws the bar
    out = re.sub(r"_(\d)", r"<sub>\1</sub>", out)
    return Markup(f'<span class="sg">{out}</span>')  # noqa: S704 - escaped
