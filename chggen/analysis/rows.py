"""Every attempted structure of a system as one row, from all its tables.

The tables of a campaign follow the stages; a report asks about structures. Here each
attempt (a generated structure, or one inpainting draw) gets one row that says how far it
came and why it ended, so that every count has its full denominator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa

from chggen.errors import Status, TableError
from chggen.tables import parquet
from chggen.tables.contracts import CONTRACT
from chggen.tables.schema import RELAXATION, SCHEMAS, SCREENING, names


def _same(*columns: str) -> dict[str, str]:
    return {name: name for name in columns}


#: The ways to a structure, in the order of every page and table.
ROUTES: Final = ("unconditional", "prototypes", "inpainting")
#: Those of generated structures, from which the rest descends.
GENERATED: Final = ROUTES[:2]
#: Columns that tell one attempt of a system from all others.
KEY: Final = ["composition", "route", "seed", "index", "framework", "draw"]
#: How an attempt was made: no space group imposed while sampling; one imposed; not drawn at
#: all but read from elsewhere or taken from a known prototype.
KINDS: Final = ("free", "imposed", "given")
#: What the columns of an attempt come from, under the names they get here.
_SAMPLED: Final = {
    "status": "sample_status",
    "reason": "sample_reason",
    **_same("score_calls", "generator", "imposed_space_group_number", "bravais_type"),
}
#: Of the structure that E_d is of, which the screen may have relaxed again.
_GEOMETRY: Final = ("volume_per_atom", "min_distance")
_RELAXED: Final = {
    "status": "relax_status",
    "reason": "relax_reason",
    **_same(*(n for n in names(RELAXATION) if n not in {*names(CONTRACT), *_GEOMETRY})),
}
_SCREENED: Final = {
    "status": "screen_status",
    "reason": "screen_reason",
    **_same("id", "n_atoms", *_GEOMETRY),
    # a report shows where energies come from once, from the headers
    **_same(
        *(n for n in names(SCREENING) if n not in names(RELAXATION, CONTRACT)),
    ),
}
#: Types that keep null apart from NaN and False.
_NULLABLE: Final = {
    pa.bool_(): pd.BooleanDtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.string(): pd.StringDtype(),
}


@dataclass(frozen=True)
class Outcomes:
    """What became of everything that was tried in a system.

    Args:
        attempts: one row per attempted structure. ``KEY``; ``stage`` and ``status``
            where it ended, with ``reason``; the booleans ``sampled``, ``relaxed``,
            ``converged``, ``symmetric``, ``below_threshold``, ``breaks_hull``,
            ``unique``, ``new``, ``known_prototype`` and ``selected`` (each of the last four
            among those below the threshold); ``draw_kind``, one of :data:`KINDS`; the
            measured columns of the tables (units as there).
        frameworks: one row per framework, and one per structure that gave none: ``KEY``,
            ``status``, ``reason`` and space group.
        compositions: in the order of the tables.
    """

    attempts: pd.DataFrame
    frameworks: pd.DataFrame
    compositions: list[str]

    @property
    def searched(self) -> pd.DataFrame:
        """One row of ``frameworks`` per generated structure: what its search came to."""
        return self.frameworks[self.frameworks["framework"] == 0]


def read_outcomes(paths: Mapping[str, Sequence[str | Path]], screened: str | Path) -> Outcomes:
    """Outcomes of a system.

    Args:
        paths: tables ``generated``, ``relaxed``, ``refined``, ``inpainted`` and
            ``rerelaxed``, any number of shards each.
        screened: the table ``screened`` of the system.

    Raises:
        TableError: a table is unreadable, or has lost or doubled rows on the way.
    """
    generated = _frame(paths, "generated", _SAMPLED)
    inpainted = _frame(paths, "inpainted", _SAMPLED)
    # such a row says that there was no framework to draw into: nothing was attempted
    drawn = inpainted[inpainted["sample_status"] != Status.PARENT_FAILED]
    attempts = pd.concat([generated, drawn], ignore_index=True)
    relaxed = [_frame(paths, name, _RELAXED) for name in ("relaxed", "rerelaxed")]
    attempts = _join(attempts, pd.concat(relaxed, ignore_index=True), "relaxed")
    attempts = _join(attempts, _read([screened], "screened", _SCREENED), "screened")
    frameworks = _frame(
        paths,
        "refined",
        {k: k for k in ("status", "reason", "space_group_number", "space_group_symbol")},
    )
    searched = int((frameworks["framework"] == 0).sum())
    # without inpainting no frameworks are made at all
    if paths.get("refined") and searched != len(generated):
        raise TableError(f"refined tables hold {searched} structures of {len(generated)} generated")
    attempts = _verdicts(attempts).assign(draw_kind=_draw_kinds(attempts))
    return Outcomes(attempts, frameworks, list(dict.fromkeys(generated["composition"])))


def _frame(
    paths: Mapping[str, Sequence[str | Path]], name: str, columns: Mapping[str, str]
) -> pd.DataFrame:
    return _read(paths.get(name, ()), name, columns)


def _read(paths: Sequence[str | Path], name: str, columns: Mapping[str, str]) -> pd.DataFrame:
    """Chosen columns of all shards; structures are not read, a campaign has many."""
    columns = {old: new for old, new in columns.items() if old in SCHEMAS[name].names}
    wanted = [*KEY, *columns]
    parts = [parquet.read_table(path, name, wanted) for path in paths]
    table = pa.concat_tables(parts) if parts else parquet.from_rows(name, []).select(wanted)
    frame: pd.DataFrame = table.to_pandas(types_mapper=_NULLABLE.get)
    frame["framework"] = frame["framework"].fillna(0)  # null where there is none yet
    return frame.rename(columns=columns)


def _join(attempts: pd.DataFrame, more: pd.DataFrame, name: str) -> pd.DataFrame:
    try:
        joined = attempts.merge(more, on=KEY, how="left", validate="one_to_one", indicator=True)
    except pd.errors.MergeError as error:
        raise TableError(f"table '{name}': two rows for one structure") from error
    lost = joined[joined["_merge"] != "both"]
    if len(lost):
        first = "/".join(str(v) for v in lost.iloc[0][KEY])
        raise TableError(f"table '{name}': no row for {len(lost)} structures (first: {first})")
    return joined.drop(columns="_merge")


def _draw_kinds(attempts: pd.DataFrame) -> pd.Series:
    """One of :data:`KINDS` for every attempt."""
    asked = attempts["sample_status"] == Status.SYMMETRY_IMPOSSIBLE
    # of its failures no space group is known, but all that it draws have one
    asked |= (attempts["generator"] == "pyxtal").fillna(value=False)
    # P1 as the group imposed asks for nothing
    imposed = asked | (attempts["imposed_space_group_number"] > 1).fillna(value=False)
    # whoever draws atoms draws them into a cell of a Bravais lattice, or into a framework
    given = attempts["route"].isin(GENERATED) & attempts["bravais_type"].isna()
    kinds = pd.Series("free", index=attempts.index)
    return kinds.mask(given, "given").mask(imposed, "imposed")


def _verdicts(attempts: pd.DataFrame) -> pd.DataFrame:
    """The booleans of every count, and where each attempt ended."""
    out = attempts.copy()
    sampled = out["sample_status"] == Status.OK
    done = out["relax_status"].isin([Status.OK, Status.NOT_CONVERGED])
    relaxed = sampled & done & out["energy_per_atom"].notna()
    ed = out["decomposition_energy"]
    flags: dict[str, Any] = {
        "sampled": sampled,
        "relaxed": relaxed,
        "converged": relaxed & out["converged"].fillna(value=False),
        "rmsd_defined": relaxed & out["rmsd"].notna(),
        "symmetric": relaxed & out["symmetric"].fillna(value=False),
        "below_threshold": relaxed & out["below_threshold"].fillna(value=False),
        "breaks_hull": relaxed & (ed < 0).fillna(value=False),
        "selected": relaxed & out["selected"].fillna(value=False),
    }
    flags["unique"] = flags["below_threshold"] & out["duplicate_of"].isna()
    flags["new"] = flags["unique"] & out["known_phase"].isna()
    flags["known_prototype"] = flags["new"] & out["prototype_of"].notna()
    out = out.assign(**{name: flag.astype(bool) for name, flag in flags.items()})
    # the first stage that failed has the last word; a screen may still refuse what
    # relaxed, but what it merely carries on says nothing new
    refused = ~out["screen_status"].isin([Status.OK, Status.PARENT_FAILED, Status.NOT_CONVERGED])
    screening = sampled & done & refused
    sampler = out["route"].map(dict.fromkeys(GENERATED, "generate") | {"inpainting": "inpaint"})
    out["stage"] = "relax"
    for column, source in (("status", "status"), ("reason", "reason")):
        out[column] = out[f"relax_{source}"]
        out.loc[screening, column] = out[f"screen_{source}"]
        out.loc[~sampled, column] = out[f"sample_{source}"]
    out.loc[screening, "stage"] = "screen"
    out.loc[~sampled, "stage"] = sampler
    return out
