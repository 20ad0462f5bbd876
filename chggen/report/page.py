"""The page put together: values from the tables into the template."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from chggen.analysis.rates import ALL, tolerances
from chggen.analysis.rows import ROUTES, Outcomes
from chggen.config.model import Config
from chggen.report import (
    calculations,
    cell,
    charts,
    facts,
    hull,
    novelty,
    screening,
    sections,
    story,
    text,
)
from chggen.report import candidates as best_structures
from chggen.report.phases import Loaded, load_phases, section_of
from chggen.tables.parquet import Row
from chggen.tables.schema import SCHEMAS

#: Lines in the table of structures; the Parquet table has them all.
MOST_LISTED: Final = 400
#: Structures and counts in the CSVs that the page carries.
_MOST_IN_CSV: Final = 2000
_MOST_COUNTS: Final = 8000
_LISTED: Final = (
    "id",
    "composition",
    "route",
    "draw_kind",
    "imposed_space_group_number",
    "space_group_symbol",
    "space_group_number",
    "decomposition_energy",
    "decomposition_energy_uncertainty",
    "formation_energy_per_atom",
    "decomposition_products",
    "delta_energy_per_atom",
    "rmsd",
    "rmsd_normalised",
    "max_displacement",
    "volume_per_atom",
    "n_atoms",
    "dimensionality",
    "family",
    "family_size",
    "volume_ratio",
    "swollen",
    "final",
    "min_distance",
    "converged",
    "known_phase",
    "known_by",
    "prototype_of",
    "selected",
    "filter",
    "filter_reason",
    "campaign_decomposition_energy",
    "on_campaign_hull",
    "host_space_group_number",
    "second_potential",
    "second_energy_per_atom",
    "second_decomposition_energy",
    "second_rank",
    "second_reason",
    "second_agrees",
    "second_added_corrections",
)
_TERNARY: Final = 3


@dataclass(frozen=True)
class Files:
    """Tables of a system that the page looks into.

    Args:
        screened: table with the structures.
        referenced: relaxed competing phases, where the reference is made of them.
        collected: what DFT says, where it was run.
    """

    screened: str | Path
    referenced: str | Path | None = None
    collected: str | Path | None = None


def render(
    system: str,
    config: Config,
    outcomes: Outcomes,
    rows: Sequence[Row],
    files: Files,
    headers: facts.Headers,
) -> str:
    """The page as one HTML document.

    Args:
        system: name in the config.
        config: of the campaign.
        outcomes: what became of everything tried.
        rows: of table ``report``.
        files: tables that are read again.
        headers: of all tables, for settings and versions.
    """
    rates = sections.Rates(list(rows))
    chosen = config.systems[system]
    best = best_structures.ranked(outcomes.attempts)
    values = {
        "system": system,
        "routes": ROUTES,
        "used": sections.routes_used(outcomes),
        "draws": sections.draws_used(outcomes),
        "symmetry": sections.symmetry(outcomes, rates),
        "headline": story.headline(system, config, outcomes, rates, best),
        "rates": rates,
        "funnel": sections.funnel(outcomes, rates),
        "by_composition": sections.by_composition(outcomes, rates, best),
        "success": _success(outcomes, rates),
        "histograms": _histograms(outcomes, config),
        "medians": sections.medians(rates),
        "space_groups": sections.space_groups(outcomes),
        "tolerance_rows": sections.tolerance_rows(outcomes, rates),
        "failures": sections.failures(outcomes),
        "framework_failures": sections.framework_failures(outcomes),
        "tolerances": tolerances(config),
        "screen": config.screen,
        "most_compositions": charts.MOST_COMPOSITIONS,
        "counts_csv": _csv(_short(rows), SCHEMAS["report"].names),
        "filters": screening.filters(outcomes, rates),
        "filters_by_composition": screening.filters_by_composition(outcomes),
        "dft": calculations.section(files.collected),
        **_structures(best, config, files.screened),
        **_about_reference(
            config,
            outcomes,
            rates,
            headers,
            load_phases(chosen.reference, chosen.elements, files.referenced, config.relax),
        ),
        **_facts(system, config, headers),
    }
    return _environment().get_template("page.html").render(values)


def _structures(best: pd.DataFrame, config: Config, screened: str | Path) -> dict[str, Any]:
    """Cards and table of the best structures."""
    chosen = best_structures.choose(best, config.report.candidates)
    cards = best_structures.candidates(chosen, screened, config.screen)
    return {
        "cards": cards,
        "palette": cell.palette({symbol for card in cards for symbol in card.elements}),
        "listed": best.head(MOST_LISTED).to_dict("records"),
        "n_unique": len(best),
        "structures_csv": _csv(best.head(_MOST_IN_CSV).to_dict("records"), _LISTED),
    }


def _about_reference(
    config: Config,
    outcomes: Outcomes,
    rates: sections.Rates,
    headers: facts.Headers,
    loaded: Loaded,
) -> dict[str, Any]:
    """Hull plots, and the notices, most of which are about the reference."""
    doubts = facts.mixed(headers)
    used, partial = facts.reference_of_screen(headers)
    if loaded.hash and used and loaded.hash != used:
        doubts.append("the reference has changed since screening, so the hull plot differs")
    return {
        "notices": story.notices(config, outcomes, rates, loaded, partial, doubts),
        "known_checked": novelty.checked(config, structures=loaded.has_structures),
        "hull": _hull(config, outcomes, loaded),
        "after": screening.after_campaign(outcomes),
    }


def _facts(system: str, config: Config, headers: facts.Headers) -> dict[str, Any]:
    return {
        "settings": facts.settings(system, config, headers),
        "versions": facts.versions(headers),
        "digests": facts.digests(headers),
        "config_text": facts.config_text(config),
        "citations": facts.CITATIONS,
    }


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("chggen", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "formula": text.formula,
        "products": text.products,
        "sg": text.space_group,
        "num": text.number,
        "sig": text.significant,
        "meV": text.milli,
        "pm": text.plus_minus,
        "count": text.count,
        "pct": text.percent,
        "ed": _with_subscript,
    }
    environment.globals |= {
        "interval": text.interval,
        "missing": text.missing,
        "novelty": novelty.short,
        "plural": text.plural,
        "style": _asset("page.css"),
        "script": _asset("page.js"),
    }
    environment.tests["missing"] = text.missing
    return environment


def _asset(name: str) -> Markup:
    """A file of this package; it is our own and contains no data."""
    return Markup(resources.files("chggen.report").joinpath(name).read_text("utf-8"))  # noqa: S704


def _with_subscript(value: str | Markup) -> Markup:
    """``E_d`` as it is printed."""
    return Markup("E<sub>d</sub>").join(escape(value).split("E_d"))


def _success(outcomes: Outcomes, rates: sections.Rates) -> Markup | None:
    rows = {
        (c, *draw): rates.get("symmetric", draw[0], c, draw[1])
        for c in outcomes.compositions
        for draw in sections.draws_used(outcomes)
    }
    return charts.success_rates(rows, outcomes.compositions)


def _hull(config: Config, outcomes: Outcomes, loaded: Loaded) -> dict[str, Any]:
    """Drawings of the hull, and words for what could not be drawn."""
    threshold = config.screen.threshold
    attempts = outcomes.attempts
    attempts = attempts[attempts["relaxed"] & attempts["decomposition_energy"].notna()]
    drawn = charts.thinned(attempts)
    drawings: dict[str, Any] = {
        "total": len(attempts),
        "drawn": len(drawn),
        "section": None,
        "ternary": None,
        "ends": None,
        "problem": loaded.problem,
        "strip": charts.energies_by_composition(drawn, outcomes.compositions, threshold),
        "beyond": 0,
    }
    phases = loaded.phases
    if phases is None:
        return drawings
    section = section_of(outcomes.compositions, phases.elements)
    if section is not None:
        drawings["section"] = hull.section_plot(phases, section, drawn, threshold)
        drawings["ends"] = section.ends
        drawings["beyond"] = int((attempts["decomposition_energy"] > hull.room(threshold)).sum())
    if len(phases.elements) == _TERNARY:
        lowest = attempts.groupby("composition")["decomposition_energy"].min()
        best = {str(name): float(energy) for name, energy in lowest.items()}
        drawings["ternary"] = hull.ternary_plot(phases, best)
    return drawings


def _histograms(outcomes: Outcomes, config: Config) -> list[Markup]:
    relaxed = outcomes.attempts[outcomes.attempts["relaxed"]]
    wanted: tuple[tuple[str, str, dict[str, float]], ...] = (
        ("delta_energy_per_atom", "ΔE, eV/atom", {}),
        ("rmsd", "RMSD, Å", {}),
        (
            "decomposition_energy",
            "E_d, eV/atom",
            {"hull": 0.0, "threshold": config.screen.threshold},
        ),
    )
    drawn = (charts.distribution(relaxed, *what) for what in wanted)
    return [picture for picture in drawn if picture is not None]


def _short(rows: Sequence[Row]) -> list[Row]:
    """Rows for the page's CSV; with very many compositions only those of all together."""
    if len(rows) <= _MOST_COUNTS:
        return list(rows)
    return [row for row in rows if row["composition"] == ALL]


def _csv(rows: Sequence[Mapping[Any, Any]], columns: Sequence[str]) -> str:
    """Rows as a data URI of a CSV file, for a spreadsheet."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if text.missing(row.get(c)) else row.get(c) for c in columns])
    # a spreadsheet takes UTF-8 for what it is only with the mark in front
    return best_structures.data_uri("\N{ZERO WIDTH NO-BREAK SPACE}" + buffer.getvalue(), "text/csv")


__all__ = ["render"]
