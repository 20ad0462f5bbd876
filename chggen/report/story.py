"""The result in plain words, and what to be careful about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
from markupsafe import Markup, escape

from chggen.analysis.rows import ROUTES, Outcomes
from chggen.config.model import Config
from chggen.report import text
from chggen.report.phases import Loaded
from chggen.report.sections import Rates

#: E_d under which the paper advises to go on to DFT, eV/atom (its §3.3).
ADVISED: Final = 0.03
#: Error of CHGNet's energies that the paper quotes, eV/atom (its §3.3).
ERROR: Final = 0.03
_FEW: Final = 100
_BELOW_BELIEF: Final = -0.15
_MOST_UNCONVERGED: Final = 0.2
_METASTABLE: Final = 0.1
_P_MINUS_1: Final = 2


@dataclass(frozen=True)
class Notice:
    """One line at the top of the page.

    Args:
        level: 'warning' (numbers may mislead) or 'note' (good to know).
        text: one or two sentences.
    """

    level: str
    text: str | Markup


#: Where the generated structures come from, in words; plug-ins are named.
_ORIGINS: Final = {
    "diffusion": "generated from scratch",
    "random": "placed at random",
    "pyxtal": "random symmetric crystals",
    "file": "read from files",
}


def headline(
    system: str, config: Config, outcomes: Outcomes, rates: Rates, best: pd.DataFrame
) -> list[Markup]:
    """What was searched, how much, the best result and what it means, in sentences.

    Args:
        system: name in the config.
        config: of the campaign.
        outcomes: what became of everything tried.
        rates: of it.
        best: unique structures by E_d, lowest first.
    """
    generator = config.generate.generator
    tried = {route: rates.get("attempted", route)["n"] for route in ROUTES}
    names = outcomes.compositions
    which = (
        Markup(" and ").join(text.formula(c) for c in names)
        if len(names) <= 2  # noqa: PLR2004
        else escape(f"{len(names)} compositions")
    )
    total = sum(tried.values())
    split = (
        f": {text.count(tried[ROUTES[0]])} {_ORIGINS.get(generator, f'from {generator}')} and"
        f" {text.count(tried[ROUTES[1]])} by inpainting guest atoms into frameworks"
        if tried[ROUTES[1]]
        else ""
    )
    relaxed, below = (rates.get(q)["k"] for q in ("relaxed", "below_threshold"))
    first = Markup("We searched for crystal structures of {} ({}) and tried {}{}.").format(
        which, system, text.plural(total, "structure"), split
    )
    if not relaxed:
        return [first, Markup("None of them relaxed to a structure with an energy.")]
    second = Markup("{} relaxed, and {} less than {} meV/atom above the hull of the known phases. ")
    second = second.format(
        text.count(relaxed), _some(below, "lies", "lie"), text.milli(config.screen.threshold)
    )
    return [first, second + _success(outcomes, rates), *best_of(best)]


def _success(outcomes: Outcomes, rates: Rates) -> Markup:
    """The symmetry success rate from end to end, without imposed space groups beside it."""
    ends = rates.get("symmetric_per_generated")
    said = Markup(
        "Of {} generated, {} ({}, 95 % interval {}) led to a symmetric"
        " structure (above <span class='sg'><i>P</i><b>1</b></span>)"
    ).format(
        text.plural(ends["n"], "structure"),
        text.count(ends["k"]),
        text.percent(ends["value"]),
        text.interval(ends["low"], ends["high"]),
    )
    if not (outcomes.attempts["draw_kind"] == "imposed").any():
        return said + Markup(".")
    free = rates.get("symmetric_per_generated", kind="free")
    return said + Markup(
        "; counting only draws without an imposed space group, {} of {} ({})."
    ).format(text.count(free["k"]), text.count(free["n"]), text.percent(free["value"]))


def _some(n: int, one: str, many: str) -> str:
    """``none is``, ``one is``, ``12 are``."""
    return {0: f"none {one}", 1: f"one {one}"}.get(n, f"{text.count(n)} {many}")


def best_of(best: pd.DataFrame) -> list[Markup]:
    """Sentences about the lowest of these structures, the lowest symmetric and new ones."""
    if best.empty:
        return [Markup("None of them has a decomposition energy.")]
    row = best.iloc[0]
    energy = float(row["decomposition_energy"])
    symmetric = best[best["symmetric"]]
    known = not text.missing(row["known_phase"])
    said = Markup("It is the known phase {}.").format(row["known_phase"])
    out = [
        Markup("The best, {} in {}, {}. {}").format(
            text.formula(row["composition"]),
            _group(row),
            _where(energy),
            said if known else meaning(row),
        )
    ]
    new = best[best["known_phase"].isna()]
    if known and not new.empty:
        out.append(_new(new.iloc[0]))
    if not row["symmetric"] and not symmetric.empty:
        other = symmetric.iloc[0]
        out.append(
            Markup("The best symmetric one is {} in {}, which {}.").format(
                text.formula(other["composition"]),
                _group(other),
                _where(float(other["decomposition_energy"])),
            )
        )
    return out


def _new(row: pd.Series) -> Markup:
    """The best structure beside a known one."""
    return Markup("The best new one, {} in {}, {}. {}").format(
        text.formula(row["composition"]),
        _group(row),
        _where(float(row["decomposition_energy"])),
        meaning(row),
    )


def _group(row: Mapping[str, Any] | pd.Series) -> Markup:
    return Markup("{} (no. {})").format(
        text.space_group(row["space_group_symbol"]), row["space_group_number"]
    )


def _where(energy: float) -> str:
    amount = f"{text.milli(abs(energy))} meV/atom"
    return f"lies {amount} {'below' if energy < 0 else 'above'} the hull of the known phases"


def meaning(row: Mapping[str, Any] | pd.Series) -> Markup:
    """What an E_d means for the stability of the compound."""
    energy = float(row["decomposition_energy"])
    products = row["decomposition_products"]
    into = (
        Markup(" into {}").format(text.product_names(products))
        if not text.missing(products) and products
        else Markup("")
    )
    if energy < 0:
        return Markup(
            "It is predicted to be stable against decomposition{}; the potential's error is"
            " about {} meV/atom, so DFT has to confirm it."
        ).format(into, text.milli(ERROR))
    if energy < ERROR:
        return Markup(
            "It is predicted to be slightly unstable against decomposition{} at 0 K, but by less"
            " than the potential's error of about {} meV/atom: DFT has to decide."
        ).format(into, text.milli(ERROR))
    if energy < _METASTABLE:
        return Markup(
            "It is predicted to be metastable against decomposition{} at 0 K, within the range of"
            " compounds that have been synthesised."
        ).format(into)
    return Markup("It is predicted to be unstable against decomposition{}.").format(into)


def notices(
    config: Config,
    outcomes: Outcomes,
    rates: Rates,
    loaded: Loaded,
    partial: str | None,
    doubts: Sequence[str],
) -> list[Notice]:
    """What a reader should know before trusting the numbers, worst first.

    Args:
        config: of the campaign.
        outcomes: what became of everything tried.
        rates: of it.
        loaded: the reference as it is now.
        partial: what the reference lacked when the screen used it.
        doubts: in what the tables disagree.
    """
    out = [Notice("warning", f"The tables are inconsistent: {what}.") for what in doubts]
    lacking = partial or loaded.partial
    if lacking:
        what = Markup("The reference is incomplete: {}.").format(text.products(lacking))
        out.append(Notice("warning", what))
    if loaded.problem:
        out.append(Notice("warning", f"The reference could not be re-read: {loaded.problem}."))
    out += _about_results(config, outcomes, rates)
    if config.screen.threshold > ADVISED:
        chosen, advised = text.milli(config.screen.threshold), text.milli(ADVISED)
        softness = (
            f"The threshold is {chosen} meV/atom. The potential is too soft, so it underestimates"
            f" large E_d; the CHGGen paper recommends {advised} meV/atom."
        )
        out.append(Notice("note", softness))
    if not loaded.problem and not loaded.has_structures:
        blind = (
            "The reference has energies but no structures, so known phases cannot be"
            " recognised: “new” only means “not a duplicate of another structure found here”."
        )
        out.append(Notice("note", blind))
    return out


def _about_results(config: Config, outcomes: Outcomes, rates: Rates) -> list[Notice]:
    out = []
    generated = {c: rates.get("attempted", ROUTES[0], c)["n"] for c in outcomes.compositions}
    few = [c for c, n in generated.items() if n < _FEW]
    if few:
        what = text.plain_formula(few[0]) if len(few) == 1 else f"{len(few)} compositions"
        out.append(
            f"Small sample: fewer than {_FEW} structures were generated for {what} (minimum:"
            f" {min(generated.values())}). Rates are uncertain and low-energy structures are"
            " easily missed."
        )
    relaxed, converged = rates.get("relaxed")["k"], rates.get("converged")["k"]
    if relaxed and 1 - converged / relaxed > _MOST_UNCONVERGED:
        out.append(
            f"{text.percent(1 - converged / relaxed)} of the relaxed structures reached the limit"
            f" of {config.relax.max_steps} steps: their energies are upper bounds."
        )
    energies = outcomes.attempts.loc[outcomes.attempts["relaxed"], "decomposition_energy"]
    strange = int((energies < _BELOW_BELIEF).sum())
    if strange:
        out.append(
            f"{text.plural(strange, 'structure')} more than {text.milli(-_BELOW_BELIEF)}"
            " meV/atom below the hull: more likely a failure of the potential than a discovery."
        )
    return [Notice("warning", line) for line in out]
