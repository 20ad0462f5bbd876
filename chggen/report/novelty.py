"""Known or new, in words."""

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd
from markupsafe import Markup

from chggen.config.model import Config
from chggen.report import text
from chggen.report.sections import Rates
from chggen.screening.known import LABEL

#: How a known phase was recognised, as the page says it.
_HOW: Final = {LABEL: "by its label"}

Record = Mapping[str, Any] | pd.Series


def is_known(row: Record) -> bool:
    """True if a structure is a known phase."""
    return not text.missing(row.get("known_phase"))


def checked(config: Config, *, structures: bool) -> bool:
    """True if known phases could be recognised.

    Args:
        config: of the campaign.
        structures: the reference has some.
    """
    known = config.screen.known
    return known == "label" or (known == "structures" and structures)


def short(row: Record) -> Markup:
    """``mp-149 (by its label)``, ``same prototype as mp-22862 (NaCl)`` or ``new``."""
    if is_known(row):
        how = _HOW.get(str(row.get("known_by")), "")
        return Markup("{} ({})").format(row["known_phase"], how) if how else _plain(row)
    like = row.get("prototype_of")
    if text.missing(like):
        return Markup("new")
    return Markup("new; same prototype as {}").format(text.products(str(like)))


def _plain(row: Record) -> Markup:
    return Markup("{}").format(row["known_phase"])


def sentence(row: Record) -> Markup:
    """What is known of a structure: a sentence, empty for one of which nothing is."""
    if is_known(row):
        how = (
            Markup(", recognised by its label") if str(row.get("known_by")) == LABEL else Markup("")
        )
        return Markup("It is the known phase {}{}.").format(row["known_phase"], how)
    like = row.get("prototype_of")
    if text.missing(like):
        return Markup("")
    return Markup("It is new, in the same prototype as {}.").format(text.products(str(like)))


def counted(rates: Rates) -> Markup:
    """How many of the unique structures below the threshold are new; empty without any."""
    rate = rates.get("novelty")
    if not rate["n"]:
        return Markup("")
    return Markup(" {} of the {} below the threshold {} new ({}, 95 % interval {}).").format(
        text.count(rate["k"]),
        text.plural(rate["n"], "unique structure"),
        "is" if rate["k"] == 1 else "are",
        text.percent(rate["value"]),
        text.interval(rate["low"], rate["high"]),
    )
