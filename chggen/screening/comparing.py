"""Verdicts that need other structures: duplicates, families, known phases, ranks."""

import pandas as pd

from chggen.screening.families import families
from chggen.screening.judging import crystals_of, valid
from chggen.screening.known import KnownPhases
from chggen.structure.matching import duplicates

_KNOWN = ("known_phase", "known_by", "prototype_of")


def compare(frame: pd.DataFrame, places: pd.Index, known: KnownPhases) -> None:
    """Fill ``duplicate_of``, ``family``, ``known_phase`` and what follows from it, in place.

    They are compared among themselves, within each composition. Rows that are left out and
    pointed to one that now has another to stand for it are led on to that one.

    Args:
        frame: table ``screened`` in the making, its rows judged.
        places: index labels of the rows.
        known: what tells a known phase from a new one.
    """
    ids = frame["id"]
    for _, members in in_order(frame.loc[places]).groupby("composition", sort=False):
        crystals = crystals_of(frame, members.index)
        twins = duplicates(crystals, list(members["energy_per_atom"]), list(valid(members)))
        firsts = [i if twin is None else twin for i, twin in enumerate(twins)]
        frame.loc[members.index, "duplicate_of"] = pd.array(
            [None if twin is None else ids[members.index[twin]] for twin in twins], dtype="string"
        )
        verdicts = known.verdicts(crystals)
        for column in _KNOWN:
            values = [getattr(verdict, column) for verdict in verdicts]
            frame.loc[members.index, column] = pd.array(values, dtype="string")
        # heads: valid ones first, so that one that did not converge does not stand for others
        good = valid(members)
        unique = [i for i, twin in enumerate(twins) if twin is None]
        unique.sort(key=lambda i: not good.iloc[i])
        heads = families(
            [members["parts"].iloc[i] for i in unique],
            [members["composition"].iloc[i] for i in unique],
        )
        head_of = {i: unique[head] for i, head in zip(unique, heads, strict=True)}
        frame.loc[members.index, "family"] = pd.array(
            [ids[members.index[head_of[first]]] for first in firsts], dtype="string"
        )
    _lead_on(frame, places)


def rank(frame: pd.DataFrame) -> None:
    """Fill ``rank``: places by energy among the unique rows of each composition, in place."""
    unique = frame["decomposition_energy"].notna() & frame["duplicate_of"].isna()
    ordered = in_order(frame[unique])
    places = ordered.groupby("composition").cumcount() + 1
    frame["rank"] = places.reindex(frame.index).astype("Int32")


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows by rising energy; ties by id, so that the order of the files does not matter.

    Corrections that were added for E_d count: they differ between oxides and peroxides.
    """
    energy = frame["energy_per_atom"] + frame["correction_per_atom"].fillna(0.0)
    ordered = frame.assign(_energy=energy.astype(float)).sort_values(["_energy", "id"])
    return ordered.drop(columns="_energy")


def _lead_on(frame: pd.DataFrame, places: pd.Index) -> None:
    """Point rows outside of ``places`` to what now stands for what they pointed to."""
    others = frame.index.difference(places)
    here = frame.loc[places].set_index("id")
    for column in ("duplicate_of", "family"):
        target = here[column].dropna()
        old = frame.loc[others, column]
        frame.loc[others, column] = old.map(target).astype("string").fillna(old)
