"""``chggen new``: a config for a system or a list of formulas, and what it will cost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chggen.errors import ConfigError
from chggen.prediction import cost, writing
from chggen.prediction.budget import in_words
from chggen.prediction.compositions import suggested
from chggen.prediction.cost import Machine, Size
from chggen.run.atomic import write_text
from chggen.structure import composition as comp

#: Elements of a system for which formulas are suggested.
_MOST_ELEMENTS: Final = 5


def formulas_of(words: Sequence[str]) -> tuple[str, list[str]]:
    """Name and formulas of a system that was given as ``Li-P-S`` or as formulas.

    Args:
        words: as typed.

    Raises:
        ConfigError, CompositionError: unknown elements, or elements alone.
    """
    if len(words) == 1 and "-" in words[0]:
        elements = words[0].split("-")
        unknown = next((e for e in elements if e not in comp.ATOMIC_NUMBERS), None)
        if unknown is not None:
            raise ConfigError(f"'{words[0]}': unknown element '{unknown}'")
        if len(set(elements)) != len(elements):
            raise ConfigError(f"'{words[0]}': an element is given twice")
        if len(elements) > _MOST_ELEMENTS:
            raise ConfigError(
                f"'{words[0]}': formulas are suggested for at most {_MOST_ELEMENTS} elements; give"
                " formulas"
            )
        return words[0], suggested(elements)
    formulas = list(dict.fromkeys(comp.canonical_formula(word) for word in words))
    if not formulas:
        raise ConfigError("no system (Li-P-S) and no formula is given")
    lone = next((f for f in formulas if len(comp.parse_formula(f)) == 1), None)
    if lone is not None:
        raise ConfigError(f"'{lone}': is an element, which has no E_d and no guests")
    symbols = dict.fromkeys(s for f in formulas for s in comp.parse_formula(f))
    return "-".join(symbols), formulas


def write_config(
    words: Sequence[str], output: Path | None, guests: Sequence[str], machine: Machine
) -> str:
    """Write the config; gives what to say about it, in lines.

    Args:
        words: system or formulas, as typed.
        output: file; None for ``SYSTEM.yaml``.
        guests: elements; empty for ``auto``.
        machine: that will run it.

    Raises:
        ConfigError: the file exists, or the workflow would refuse the config.
    """
    system, formulas = formulas_of(words)
    path = output or Path(f"{system}.yaml")
    if path.exists():
        raise ConfigError(f"--output '{path}': exists; name a new file")
    sizes = [
        Size(
            atoms=sum(comp.parse_formula(formula).values()),
            units=(1, 2),
            shards=2,
            lattices=50,
            candidates=16,
            draws=3,
            fillings=8,
        )
        for formula in formulas
    ]
    # the shards of all compositions share the cores
    total = sum(cost.search_seconds(s, machine) + cost.framework_seconds(s, machine) for s in sizes)
    total += sum(cost.ending_seconds(s, machine) for s in sizes)
    said = f"some {in_words(total)} on {machine.cores} cores"
    text = writing.new_text(system, formulas, guests, sizes[0], said, path.name)
    campaign = writing.campaign_of(text, f"'{' '.join(words)}'")
    write_text(path, text)
    attempts = len(formulas) * sizes[0].structures
    return (
        f"{path}: {len(campaign.config.systems[system].formulas())} compositions,"
        f" {attempts} structures, {said}\n"
        f"next: snakemake --profile profiles/local --configfile {path}"
    )


def check(words: Sequence[str], output: Path | None, guests: Sequence[str]) -> None:
    """Raise the one line that :func:`write_config` would, before the machine is timed.

    Args:
        words: system or formulas, as typed.
        output: file, or None.
        guests: elements; empty for ``auto``.
    """
    system, formulas = formulas_of(words)
    path = output or Path(f"{system}.yaml")
    if path.exists():
        raise ConfigError(f"--output '{path}': exists; name a new file")
    size = Size(atoms=1, units=(1, 2), shards=2, lattices=50, candidates=16)
    text = writing.new_text(system, formulas, guests, size, "", path.name)
    writing.campaign_of(text, f"'{' '.join(words)}'")
