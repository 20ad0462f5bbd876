"""Settings and versions used, from the config and from the headers of the tables."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from chggen.config.model import Config
from chggen.config.stages import RelaxConfig
from chggen.report.text import count
from chggen.tables import parquet

#: How to cite what a campaign rests on: what for, reference, DOI.
CITATIONS: Final = (
    (
        "Method",
        (
            "P. Zhong, X. Dai, B. Deng, G. Ceder, K. A. Persson. Crystal structure prediction with"
            " host-guided inpainting generation and foundation potentials. Materials Horizons 12,"
            " 9669 (2025)"
        ),
        "10.1039/d5mh00774g",
    ),
    (
        "Potential",
        (
            "B. Deng et al. CHGNet as a pretrained universal neural network potential for"
            " charge-informed atomistic modelling. Nature Machine Intelligence 5, 1031 (2023)"
        ),
        "10.1038/s42256-023-00716-3",
    ),
    (
        "Competing phases",
        (
            "A. Jain et al. Commentary: The Materials Project: A materials genome approach to"
            " accelerating materials innovation. APL Materials 1, 011002 (2013), CC BY 4.0"
        ),
        "10.1063/1.4812323",
    ),
    (
        "Space groups",
        (
            "A. Togo, K. Shinohara, I. Tanaka. Spglib: a software library for crystal symmetry"
            " search. Science and Technology of Advanced Materials: Methods 4, 2384822 (2024)"
        ),
        "10.1080/27660400.2024.2384822",
    ),
)
#: More different values than this are given as a range.
_MOST_VALUES: Final = 4
Headers = Mapping[str, Sequence[Mapping[str, Any]]]
Lines = list[tuple[str, str]]
Group = tuple[str, Lines]


def read_headers(
    paths: Mapping[str, Sequence[str | Path]], screened: str | Path
) -> dict[str, list[dict[str, Any]]]:
    """Headers of all tables, by table."""
    every = {**paths, "screened": [screened]}
    return {name: [parquet.read_header(p) for p in found] for name, found in every.items()}


def _values(headers: Headers, name: str, *keys: str) -> list[str]:
    """Different values of a (nested) header key over the shards of a table."""
    found: dict[str, None] = {}
    for header in headers.get(name, ()):
        value: Any = header
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None and value != "":
            found[_words(value)] = None
    return list(found)


def _words(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_words(v) for v in value)
    return str(value)


def mixed(headers: Headers) -> list[str]:
    """What differs between tables that should agree, in words."""
    out = []
    for name, found in headers.items():
        for key, what in (
            ("settings_digest", "settings"),
            ("code_digest", "code versions"),
        ):
            if len({str(h.get(key)) for h in found}) > 1:
                out.append(f"the shards of “{name}” were made with different {what}")
    potentials = {
        (h.get("potential"), h.get("potential_hash"))
        for name in ("relaxed", "rerelaxed")
        for h in headers.get(name, ())
    }
    if len(potentials) > 1:
        out.append("they were relaxed with different potentials")
    versions: dict[str, set[str]] = {}
    for found in headers.values():
        for header in found:
            for package, version in header.get("versions", {}).items():
                versions.setdefault(package, set()).add(version)
    several = sorted(p for p, v in versions.items() if len(v) > 1)
    if several:
        out.append(f"they were made with different versions of {', '.join(several)}")
    return out


def settings(system: str, config: Config, headers: Headers) -> list[Group]:
    """Settings in groups of (name, value).

    Args:
        system: name in the config.
        config: of the campaign.
        headers: of all tables.
    """
    return [
        ("Search", _search(system, config, headers)),
        ("Generation", _generation(config, headers)),
        ("Relaxation", _relaxation(config, headers)),
        ("Frameworks", _frameworks(config)),
        ("Screen", _screen(config, headers)),
    ]


def _seen(headers: Headers, name: str, *keys: str) -> str:
    found = _values(headers, name, *keys)
    if len(found) > _MOST_VALUES:
        found = sorted(found)
        return f"{found[0]} to {found[-1]} ({len(found)} values)"
    return "; ".join(found) or "not recorded"


def _search(system: str, config: Config, headers: Headers) -> Lines:
    chosen = config.systems[system]
    lattices = f"{chosen.lattice_seeds} × {chosen.lattices_per_seed}"
    cells = [
        ("formula units per cell", _words(chosen.formula_units)),
        ("lattice seeds × lattices", lattices),
        ("volume per atom of drawn cells, Å³", _seen(headers, "generated", "volume_per_atom")),
    ]
    if not config.generate.draws_cells:
        cells = [("lattice seeds × structures at most", lattices)]
    return [
        ("system", system),
        ("compositions", str(len(chosen.formulas()))),
        ("space groups imposed while sampling", str(chosen.symmetry)),
        *cells,
        ("guests", _guests(headers)),
        ("campaign seed", str(config.seed)),
    ]


def _guests(headers: Headers) -> str:
    """Elements taken out, and how they were chosen where the config does not say."""
    chosen = [note for note in _values(headers, "refined", "guest_choice") if note]
    return "; ".join(chosen) or _seen(headers, "refined", "guests")


def _generation(config: Config, headers: Headers) -> Lines:
    network = ("inputs", "checkpoint")
    lines = [
        ("generator", config.generate.generator),
        ("candidates per structure", str(config.generate.draws)),
    ]
    if config.generate.generator == "diffusion":
        lines.append(("sampler", config.generate.sampler))
        lines.append(("score network (sha256)", _seen(headers, "generated", *network)))
    if config.generate.uses_prototypes:
        alone = config.generate.generator == "prototypes"
        share = 1.0 if alone else config.generate.prototypes.share
        lines.append(("share asked from known prototypes", f"{100 * share:g} %"))
        library = _seen(headers, "generated", "inputs", "prototypes")
        lines.append(("library of prototypes (sha256)", library))
        lacking = [note for note in _values(headers, "generated", "no_prototype") if note]
        if lacking:
            lines.append(("compositions without a known prototype", "; ".join(sorted(lacking))))
    if config.generate.path is not None:
        structures = _seen(headers, "generated", "inputs", "structures")
        lines.append(("structures from", str(config.generate.path)))
        lines.append(("their digest (sha256)", structures))
    return [
        *lines,
        ("inpainting sampler", config.inpaint.sampler),
        ("inpainting score network (sha256)", _seen(headers, "inpainted", *network)),
        ("structures per framework", str(config.inpaint.draws)),
        ("candidates per inpainted structure", str(config.inpaint.candidates)),
    ]


def _relaxation(config: Config, headers: Headers) -> Lines:
    relax = config.relax
    return [
        ("potential", _seen(headers, "relaxed", "potential")),
        ("its weights (sha256)", _seen(headers, "relaxed", "potential_hash")),
        ("functional it was trained on", _seen(headers, "relaxed", "functional")),
        ("energy corrections included", _seen(headers, "relaxed", "corrections")),
        ("force criterion", f"{relax.fmax:g} eV/Å"),
        ("stress criterion", f"{relax.smax:g} GPa" if relax.relax_cell else "cell fixed"),
        ("step limit", count(relax.max_steps)),
        ("final relaxation", _final(relax)),
    ]


def _final(relax: RelaxConfig) -> str:
    if relax.final is None:
        return "none"
    stress = f", {relax.final.smax:g} GPa" if relax.relax_cell else ""
    steps = f"in at most {count(relax.final.max_steps)} steps"
    dispersion = ", with D3(BJ)" if relax.tight.dispersion != "none" else ""
    return f"to {relax.final.fmax:g} eV/Å{stress} {steps}{dispersion}"


def _frameworks(config: Config) -> Lines:
    refine = config.refine
    ladder = ", ".join(f"{s.symprec:g} Å / {s.angle_tolerance:g}°" for s in refine.ladder)
    first = refine.ladder_choice == "first"
    return [
        ("tolerance ladder", ladder),
        ("framework taken", "the first symmetric" if first else "the most symmetric near it"),
        ("frameworks per structure at most", str(refine.frameworks_per_structure)),
        ("bonds between hosts must be kept", "yes" if refine.keep_coordination else "no"),
        ("largest displacement", f"{refine.max_displacement:g} Å"),
        ("largest RMS displacement", f"{refine.max_rms_displacement:g} Å"),
        ("largest strain", f"{100 * refine.max_strain:g} %"),
        ("cell", refine.host_cell),
    ]


def _screen(config: Config, headers: Headers) -> Lines:
    screen = config.screen
    return [
        ("symmetry tolerance", f"{screen.symprec:g} Å, {screen.angle_tolerance:g}°"),
        ("shortest distance", screen.distance_text),
        ("E_d threshold", f"{screen.threshold:g} eV/atom"),
        ("require a symmetric structure", "yes" if screen.require_symmetric else "no"),
        ("at most per composition", str(screen.max_selected)),
        ("at most per space group", str(screen.max_per_space_group or "no limit")),
        ("keep the best of each composition", "yes" if screen.best_per_composition else "no"),
        ("competing phases", _seen(headers, "screened", "reference")),
        ("their date", _seen(headers, "screened", "reference_date")),
        ("their digest (sha256)", _seen(headers, "screened", "reference_hash")),
        ("their functional", _seen(headers, "screened", "reference_functional")),
    ]


def reference_of_screen(headers: Headers) -> tuple[str | None, str | None]:
    """Digest of the reference that the screen used, and what it was known to lack."""
    header = next(iter(headers.get("screened", ())), {})
    return header.get("reference_hash"), header.get("reference_partial")


def versions(headers: Headers) -> list[tuple[str, str]]:
    """Package → version (all of them, if the tables disagree)."""
    found: dict[str, dict[str, None]] = {}
    for header in _every(headers):
        for package, version in header.get("versions", {}).items():
            found.setdefault(package, {})[str(version)] = None
    return [(package, ", ".join(v)) for package, v in sorted(found.items())]


def digests(headers: Headers) -> list[tuple[str, str, str]]:
    """Table, digest of the code and digest of the settings that made it."""
    return [
        (
            name,
            ", ".join(_values(headers, name, "code_digest")),
            ", ".join(_values(headers, name, "settings_digest")),
        )
        for name in headers
        if headers[name]
    ]


def _every(headers: Headers) -> Iterable[Mapping[str, Any]]:
    return (header for found in headers.values() for header in found)


def config_text(config: Config) -> str:
    """The whole configuration, readable."""
    return json.dumps(config.model_dump(mode="json"), indent=2, ensure_ascii=False)
