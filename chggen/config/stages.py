"""Config sections of the stages that make structures, one model per stage."""

# ruff: noqa: RUF012 - pydantic copies a default, mutable or not, for every model
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from chggen.config.base import Count, Place, Places, Positive, Strict, expanded
from chggen.config.dispersion import Dispersion, joined
from chggen.config.energies import Words

Bravais = Literal[
    "cubic", "tetragonal", "orthorhombic", "hexagonal", "rhombohedral", "monoclinic", "triclinic"
]
BRAVAIS_TYPES: tuple[Bravais, ...] = Bravais.__args__  # type: ignore[attr-defined]
PRETRAINED = "pretrained"
BuiltinGenerator = Literal["diffusion", "prototypes", "random", "pyxtal", "file"]
GENERATORS: tuple[str, ...] = BuiltinGenerator.__args__  # type: ignore[attr-defined]
#: Entry points through which installed packages offer further generators.
GENERATOR_GROUP = "chggen.generators"


def generator_plugins() -> dict[str, metadata.EntryPoint]:
    """Generators that installed packages offer, by name; nothing is imported."""
    return {point.name: point for point in metadata.entry_points(group=GENERATOR_GROUP)}


def _known_generators() -> list[str]:
    return [*GENERATORS, *sorted(set(generator_plugins()) - set(GENERATORS))]


class LatticeConfig(Strict):
    """Sampling of cells."""

    source: Literal["known", "bravais", "mixed"] = "known"
    """Where cells come from. ``known``: shapes of cells of known crystals with the same number
    of atoms and the same kind of formula (AB2C4), the chemically nearest first; where there
    are none, random Bravais lattices. ``bravais``: random Bravais lattices. ``mixed``: half of
    the candidates each (docs/generators.md)."""
    library: Place | None = None
    """Table of your own cells (``chggen library``), used together with the packaged one."""
    joint: bool | None = None
    """Draw the cell together with the positions, starting from the cell above, instead of
    keeping it; needs a checkpoint that was trained for it. Default: if the checkpoint can
    (docs/training.md) and the sampler is ``fast``."""
    types: Annotated[list[Bravais], Field(min_length=1)] = list(BRAVAIS_TYPES)
    """Bravais lattice types, random ones in equal numbers; known cells of others are not used."""
    ratio: tuple[Positive, Positive] | None = None
    """Range of free axis ratios b/a and c/a of random lattices (uniform in the logarithm);
    ``null``: distributed as in known crystals of the same Bravais lattice."""
    angle: tuple[Annotated[float, Field(gt=30)], Annotated[float, Field(lt=150)]] | None = None
    """Range of free angles, degrees; ``null``: as in known crystals."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for key in ("ratio", "angle"):
            low, high = getattr(self, key) or (0.0, 0.0)
            if low > high:
                raise ValueError(f"{key} [{low}, {high}]: the first limit must be the lower one")
        if self.library is not None and self.source == "bravais":
            raise ValueError("'library' is not used by source 'bravais'")
        return self


class PrototypesConfig(Strict):
    """Known prototypes: crystals of a library with other elements on their sites."""

    share: Annotated[float, Field(ge=0, le=1)] = 0.25
    """For ``diffusion``: share of the structures of each composition that come from known
    prototypes instead, as route ``prototypes``; 0: none."""
    candidates: Count = 1
    """Donors per structure; of several, the one of lowest energy is kept (``finalists``)."""
    library: Place | None = None
    """Table of your own prototypes (``chggen library``), beside the packaged ones."""


class GenerateConfig(Strict):
    """Unconditional generation."""

    generator: BuiltinGenerator | str = "diffusion"
    """Generator: ``diffusion`` (score network), ``prototypes`` (known crystals with other
    elements on their sites), ``random`` (random positions with sensible distances),
    ``pyxtal`` (random symmetric crystals), ``file`` (your own structures), or an installed
    plug-in (docs/generators.md)."""
    path: Place | None = None
    """For ``file``: a folder of CIFs, an extxyz file, or a Parquet or CSV table."""
    options: dict[str, Any] = {}
    """For plug-ins: their own options."""
    checkpoint: Annotated[str, BeforeValidator(expanded)] = PRETRAINED
    """Score network: ``pretrained`` or the path of a .safetensors file."""
    sampler: Literal["fast", "paper"] = "fast"
    """``paper``: 200 levels with 5 corrector steps (1,200 score calls); ``fast``: an
    EDM-type grid with stochastic Heun steps (29 per draw)."""
    lattice: LatticeConfig = LatticeConfig()
    """Sampling of cells."""
    prototypes: PrototypesConfig = PrototypesConfig()
    """Known prototypes."""
    symmetry_prior: Literal["library", "general"] = "library"
    """Where imposed space groups and Wyckoff positions come from: those of known crystals
    with the same anonymous formula and number of atoms, the chemically nearest most often
    (``library``; where none fits a cell, as ``general``), or from general statistics alone."""
    candidates: Count | None = None
    """Draws per structure, each in a differently shaped cell; the one of lowest
    energy is kept (``finalists``). Default: 16 for ``diffusion``, 1 for other
    generators. ``prototypes`` has ``prototypes.candidates``."""
    ranking_potential: Words = "chgnet-0.3.0"
    """Name of the potential that ranks the draws."""
    finalists: Count = 3
    """Of the draws, so many of lowest single-point energy that differ from each other are
    relaxed (cell and positions) by ``finalist_steps`` steps; the lowest of them then is kept,
    as it was drawn. 1: the lowest single-point energy decides."""
    finalist_steps: Count = 10
    """Relaxation steps of each finalist."""
    batch_atoms: Count = 1200
    """Maximum number of atoms per batch."""

    @field_validator("generator")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in GENERATORS and name not in generator_plugins():
            raise ValueError(f"unknown generator (known: {', '.join(_known_generators())})")
        return name

    @model_validator(mode="after")
    def _fits_generator(self) -> Self:
        if (self.generator == "file") != (self.path is not None):
            raise ValueError("'path' is required by generator 'file' and not allowed otherwise")
        if self.lattice.joint and self.sampler == "paper":
            raise ValueError("lattice.joint: sampler 'paper' keeps cells")
        if self.options and self.generator in GENERATORS:
            raise ValueError(
                f"options: generator '{self.generator}' has no options, only plug-ins have"
            )
        return self

    @property
    def draws(self) -> int:
        """Candidates per structure."""
        if not self.draws_cells:
            return 1
        if self.generator == "prototypes":
            return self.prototypes.candidates
        return self.candidates or (16 if self.generator == "diffusion" else 1)

    @property
    def uses_prototypes(self) -> bool:
        """True if structures are made from known prototypes."""
        mixed = self.generator == "diffusion" and self.prototypes.share > 0
        return mixed or self.generator == "prototypes"

    @property
    def draws_cells(self) -> bool:
        """False if the structures surely come from a file, with cells of their own."""
        return self.generator != "file"


class FinalConfig(Strict):
    """Second, tight relaxation of what passes a first cut of the screen."""

    fmax: Positive = 0.03
    """Force criterion, eV/Å."""
    smax: Positive = 0.3
    """Stress criterion when the cell is free, GPa."""
    max_steps: Count = 500
    """Step limit per structure."""
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.05
    """How far (eV/atom) above ``screen.threshold`` a structure may be to be relaxed again."""
    dispersion: Dispersion = "none"
    """``d3bj``: D3(BJ) in this relaxation even if ``relax.dispersion`` is ``none``. The first
    cut then has it at the structures relaxed without, where layers are too far apart, so
    that ``margin`` should be larger (docs/potentials.md)."""


class RelaxConfig(Strict):
    """Relaxation with a foundation potential, before and after inpainting."""

    potential: Words = "chgnet-0.3.0"
    """Interatomic potential: ``chgnet-0.3.0``, ``chgnet-0.2.0``, ``chgnet-r2scan`` or a name
    in ``potentials``. Functional and corrections must match the reference."""
    dispersion: Dispersion = "none"
    """``d3bj``: add D3(BJ) with the parameters of the potential's functional; name, hash and
    contract of the potential then say so, and so must the reference (docs/potentials.md)."""
    precision: Literal["float32", "float64"] = "float32"
    """Precision in which a CHGNet computes; in ``float64`` results hardly depend on the batch
    (docs/relaxation.md). Other potentials: ``potentials.NAME.options``."""
    fmax: Positive = 0.1
    """Force criterion, eV/Å."""
    smax: Positive = 1.0
    """Stress criterion if the cell is relaxed, GPa."""
    max_steps: Count = 500
    """Step limit per structure."""
    relax_cell: bool = True
    """Relax the cell together with the positions."""
    min_distance: Positive = 0.5
    """Structures that start with a shorter interatomic distance (Å) are not relaxed."""
    batch_atoms: Count = 400
    """Maximum number of atoms per batch; halved automatically when memory runs out."""
    repair: bool = False
    """Push overlapping atoms apart before relaxation instead of refusing the structure."""
    keep_symmetry: bool = False
    """Keep the space group of the initial structure."""
    symmetry_symprec: Positive = 0.1
    """Distance tolerance (Å) for determining that space group."""
    fix_host: bool = False
    """In ``rerelax``, move only the inpainted guests; hosts and cell are fixed."""
    trajectories: bool = False
    """Save the trajectory of each structure (torch-sim, HDF5) in a folder beside the table
    (``relaxed_trajectories``), named by the id of the initial structure."""
    final: FinalConfig | None = FinalConfig()
    """Tight relaxation, in stage ``screen``, of what passes a first cut: E_d, space group and
    selection come from it. The phases of reference ``potential`` are relaxed by the same
    criteria. ``null``: off."""

    @property
    def potential_name(self) -> str:
        """Name of the potential with its dispersion, as tables have it."""
        return joined(self.potential, self.dispersion)

    @property
    def tight(self) -> "RelaxConfig":
        """These settings with the final criteria, where there are any."""
        if self.final is None:
            return self
        return self.model_copy(
            update={
                # never looser than the first relaxation
                "fmax": min(self.fmax, self.final.fmax),
                "smax": min(self.smax, self.final.smax),
                "max_steps": self.final.max_steps,
                "dispersion": self.dispersion
                if self.dispersion != "none"
                else self.final.dispersion,
                "trajectories": False,
            }
        )


class LadderStep(Strict):
    """One step of the tolerance ladder."""

    symprec: Positive
    """spglib distance tolerance, Å."""
    angle_tolerance: Positive
    """spglib angle tolerance, degrees."""


def _ladder(value: Any) -> Any:  # noqa: ANN401
    if not isinstance(value, list | tuple):
        return value
    return [
        {"symprec": step[0], "angle_tolerance": step[1]}
        if isinstance(step, list | tuple) and len(step) == 2  # noqa: PLR2004
        else step
        for step in value
    ]


#: The paper's ladder (method.md §2).
PAPER_LADDER = [
    LadderStep(symprec=s, angle_tolerance=a)
    for s, a in [(0.1, 10), (0.2, 15), (0.5, 15), (0.8, 15), (1.0, 20), (1.5, 30), (2.0, 30)]
]


class RefineConfig(Strict):
    """Removal of guests and symmetrisation of the framework."""

    ladder: Annotated[list[LadderStep], BeforeValidator(_ladder), Field(min_length=1)] = (
        PAPER_LADDER
    )
    """(symprec, angle tolerance) pairs, tried in order."""
    ladder_choice: Literal["first", "best"] = "best"
    """Which step's framework is taken. ``first``: the first with a space group above P-1 (the
    paper's); ``best``: of that one and later ones that move no host by more than its symprec,
    the one with the most symmetry operations."""
    frameworks_per_structure: Count = 2
    """Maximum number of frameworks from one structure: the one chosen, then others that the
    ladder found and that are not refused, the smallest displacement first."""
    keep_coordination: bool = True
    """Refuse a symmetrisation by which hosts lose or gain bonds with other hosts."""
    max_displacement: Positive = 1.5
    """Maximum displacement of a host atom by symmetrisation, Å."""
    max_rms_displacement: Positive = 0.8
    """Maximum RMS displacement of the host atoms, Å."""
    max_strain: Positive = 0.15
    """Maximum principal strain of the host cell by symmetrisation."""
    host_cell: Literal["input", "primitive", "conventional"] = "input"
    """Cell in which the guests are inpainted."""
    max_atoms: Count = 100
    """Maximum number of atoms, guests included, in the cell of a framework."""


class InpaintConfig(Strict):
    """Inpainting of guests into frameworks."""

    checkpoint: Annotated[str, BeforeValidator(expanded)] = PRETRAINED
    """Score network: ``pretrained`` or the path of a .safetensors file."""
    sampler: Literal["fast", "paper"] = "fast"
    """``paper``: predictor-corrector with RePaint resampling (some 3,600 score calls);
    ``fast``: a noise level per atom, hosts clean, no resampling (29 per draw)."""
    resampling: Count = 3
    """For ``paper``: number of passes per noise level (r)."""
    draws: Annotated[int, Field(ge=0, le=2**31 - 1)] = 3
    """Structures per framework; 0: no frameworks and no guests, the campaign ends with the
    generated structures."""
    candidates: Count = 8
    """Draws per structure; the one of lowest energy is kept (``finalists``)."""
    ranking_potential: Words = "chgnet-0.3.0"
    """Name of the potential that ranks the draws."""
    finalists: Count = 3
    """Of the draws, so many of lowest single-point energy that differ from each other are
    relaxed (cell and positions) by ``finalist_steps`` steps; the lowest of them then is kept,
    as it was drawn. 1: the lowest single-point energy decides."""
    finalist_steps: Count = 10
    """Relaxation steps of each finalist."""
    batch_atoms: Count = 1200
    """Maximum number of atoms per batch."""


class TrainConfig(Strict):
    """Training of a score network (rule ``train``, run only on request)."""

    data: Places | None = None
    """Structures, a file or folder or a list of them: Parquet or CSV (or CSV.gz) with a ``cif``
    column, as in the public mp_20 and mpts_52 files, Parquet with the columns ``cell`` (nine
    numbers, rows are vectors, Å), ``atomic_numbers`` and ``frac_coords``, extxyz, CIFs and
    folders of them; empty: the Materials Project with the key in MP_API_KEY."""
    validation: Places | None = None
    """Structures of the same kinds for the validation loss."""
    exclude: Places | None = None
    """Structures of the same kinds whose reduced formulas are left out of the training, for
    example those of ``validation``."""
    max_above_hull: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = 0.1
    """Train on structures at most this far above the hull (eV/atom, column `e_above_hull` of
    the data, or the key of that name in extxyz; without it there is no filter, and the log
    says so); null: no filter."""
    max_atoms: Annotated[int, Field(ge=2)] | None = None
    """Train on structures of at most so many atoms; null: on all."""
    output: Place = Path("runs/score")
    """Directory of checkpoints and log."""
    preset: Literal["default", "small", "paper", "tiny"] = "default"
    """Network and noise settings (chggen.diffusion.settings)."""
    epochs: Count = 40
    """Passes over the data."""
    batch_atoms: Count = 384
    """Atoms per training step."""
    minutes: Positive | None = None
    """Stop after so many minutes of training (the validation comes on top), with the state saved
    and a checkpoint of the averaged weights written; the same command goes on. null: train
    all epochs."""
    compile: bool = True
    """Compile the network first (takes a minute, then trains several times faster; needs
    a C++ compiler)."""
