"""Configurations for people: every key that matters, with what it does beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chggen.campaign.plan import Campaign
from chggen.config.text import parse_yaml
from chggen.prediction.cost import Size
from chggen.structure import composition as comp

#: First line of a config that ``predict`` wrote, by which it knows its own.
MARK: Final = "# chggen predict"

_PREDICT: Final = """\
{mark} {formula}: {structures} structures, planned for {budget} on {cores} cores.
# Once more, or continued: the same command, or
#   snakemake --profile profiles/local --directory {folder} --configfile {folder}/{name}
# config/README.md explains every key.
seed: {seed}
systems:
  {system}:
    compositions: [{formula}]
    # formula units in a cell: {atoms} atoms
    formula_units: [{units}]
    # removed from relaxed structures and put back into the framework that remains
    guests: {guests}
    # independent sets of lattices, one job each, and structures in each of them
    lattice_seeds: {shards}
    lattices_per_seed: {lattices}
    # competing phases for E_d: the tables in the package, no key and no network
    reference: builtin
generate:
  # draws per structure, of which the one of lowest energy is kept
  candidates: {candidates}
  finalists: {finalists}
  # share of the structures that are known crystals with other elements on their sites
  prototypes: {{share: {share:g}}}
inpaint:
  # structures per framework; 0: no frameworks
  draws: {draws}
  candidates: {fillings}
screen:
  # E_d (eV/atom) below which a structure counts; the best is kept in any case
  threshold: 0.1
  max_selected: {selected}
"""

_NEW: Final = """\
# {system}: {count} compositions. What it costs: chggen new said {cost} when it wrote this file.
#   chggen check {name}
#   snakemake --profile profiles/local --configfile {name}
# config/README.md explains every key; those that are not here have their defaults.
seed: 2025
results: results
systems:
  {system}:
    # formulas; or a line: {{line: [Li2S, P2S5], max_atoms: 20}}; or a range:
    # {{range: Li_x Si_y, where: x > y, max_atoms: 25}}
    compositions: [{formulas}]
    # formula units in a cell
    formula_units: [1, 2]
    # elements that are removed and put back into the framework; auto: the campaign decides
    guests: {guests}
    # independent sets of lattices, one job each, and structures in each of them
    lattice_seeds: {shards}
    lattices_per_seed: {lattices}
    # competing phases for E_d: builtin, {{source: file, path: mine.csv}}, materials-project (key
    # in MP_API_KEY) or potential (docs/references.md)
    reference: builtin
generate:
  # draws per structure, each in a cell of its own; the one of lowest energy is kept
  candidates: 16
  # share of the structures that are known crystals with other elements on their sites
  prototypes: {{share: 0.25}}
inpaint:
  # structures per framework, and draws for each
  draws: 3
  candidates: 8
screen:
  # E_d (eV/atom) below which a structure counts; 0.03 is stricter
  threshold: 0.1
  max_selected: 20
# dft: {{run: true}}    r2SCAN of what is selected (docs/dft.md)
"""


def predict_text(
    formula: str, guests: Sequence[str], size: Size, budget: str, cores: int, place: Path
) -> str:
    """Config of a campaign of one composition.

    Args:
        formula: canonical.
        guests: elements; empty for ``auto``.
        size: of the campaign.
        budget: that it is planned for, in words.
        cores: jobs at a time.
        place: file that it will be.
    """
    return _PREDICT.format(
        mark=MARK,
        formula=quoted(formula),
        system=quoted(formula),
        structures=size.structures,
        budget=budget,
        cores=cores,
        folder=place.parent,
        name=place.name,
        seed=2025,
        atoms=", ".join(str(size.atoms * z) for z in size.units),
        units=", ".join(map(str, size.units)),
        guests=f"[{', '.join(map(quoted, guests))}]" if guests else "auto",
        shards=size.shards,
        lattices=size.lattices,
        candidates=size.candidates,
        finalists=size.finalists,
        share=size.share,
        draws=size.draws,
        fillings=size.fillings,
        selected=size.selected,
    )


def new_text(
    system: str, formulas: Sequence[str], guests: Sequence[str], size: Size, cost: str, name: str
) -> str:
    """Config of a campaign of a system, with its defaults written out.

    Args:
        system: its name.
        formulas: canonical.
        guests: elements; empty for ``auto``.
        size: of one composition.
        cost: in words.
        name: of the file.
    """
    return _NEW.format(
        system=system,
        count=len(formulas),
        cost=cost,
        name=name,
        formulas=", ".join(map(quoted, formulas)),
        guests=f"[{', '.join(map(quoted, guests))}]" if guests else "auto",
        shards=size.shards,
        lattices=size.lattices,
    )


def campaign_of(text: str, where: str) -> Campaign:
    """The campaign that a text means, checked like any other; raises :class:`ConfigError`.

    Args:
        text: YAML.
        where: what messages about it begin with.
    """
    return Campaign.load(parse_yaml(text, where), where)


def quoted(word: str) -> str:
    """A word of YAML: NO and the like are no truth values."""
    return f"'{word}'" if word.lower() in {"no", "y", "n", "on", "off", "yes"} else word


def default_guests(formula: str) -> list[str]:
    """The most electropositive element, which is the mobile ion of most ionic conductors.

    Empty for an element.

    Args:
        formula: canonical, by electronegativity.
    """
    symbols = list(comp.parse_formula(formula))
    return symbols[:1] if len(symbols) > 1 else []
