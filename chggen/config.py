"""The typed configuration: one documented key for every choice.

Pydantic models hold keys, types, limits and meanings; the JSON schema and
``config/README.md`` are generated from them (a test fails on drift). Nothing here
imports torch or pymatgen: every cluster job parses the Snakefile again.

A bad value ends as one :class:`~chggen.errors.ConfigError` line that names key and
value, before any job starts.
"""

# ruff: noqa: RUF012 - pydantic copies a default, mutable or not, for every model
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, field_validator, model_validator

from chggen import composition as comp
from chggen.contracts import POTENTIALS
from chggen.energyspecs import PotentialConfig, ReferenceConfig, Words, as_reference
from chggen.errors import CompositionError
from chggen.specs import CompositionSpec, Count, Positive, Strict, as_list, as_value_error

Bravais = Literal[
    "cubic", "tetragonal", "orthorhombic", "hexagonal", "rhombohedral", "monoclinic", "triclinic"
]
BRAVAIS_TYPES: tuple[Bravais, ...] = Bravais.__args__  # type: ignore[attr-defined]
PRETRAINED = "pretrained"
SpaceGroup = Annotated[int, Field(ge=1, le=230)]
Symmetry = Literal["none", "auto"] | SpaceGroup | tuple[SpaceGroup, SpaceGroup]
BuiltinGenerator = Literal["diffusion", "random", "pyxtal", "file"]
GENERATORS: tuple[str, ...] = BuiltinGenerator.__args__  # type: ignore[attr-defined]
#: Entry points through which installed packages offer further generators.
GENERATOR_GROUP = "chggen.generators"


class SystemConfig(Strict):
    """One chemical system."""

    compositions: Annotated[list[CompositionSpec], BeforeValidator(as_list), Field(min_length=1)]
    """Formulas, lines (``{line: [ZnS, P2S5], max_atoms: 20}``) or element ranges
    (``{range: Li_x Si_y, where: x > y, max_atoms: 25}``)."""
    formula_units: Annotated[list[Count], BeforeValidator(as_list), Field(min_length=1)] = [1]
    """Formula units per cell; the lattices of a seed are shared out between them."""
    guests: Literal["auto"] | list[str] = "auto"
    """Elements taken out and put back by inpainting; ``auto``: the element with the
    broadest coordination numbers."""
    lattice_seeds: Count = 2
    """Shards per composition: independent sets of lattices."""
    lattices_per_seed: Count = 50
    """Structures attempted per shard; each candidate of one has a lattice of its own."""
    volume_per_atom: Literal["auto"] | Positive = "auto"
    """Å³ per atom of the drawn cells; ``auto``: the shipped regression."""
    symmetry: Symmetry = "auto"
    """Space groups kept while atoms are placed (needs generator ``diffusion``): ``none``;
    ``auto``: every second draw keeps one that fits its cell, guests that of their
    framework, the others are free; a number or a range ``[195, 230]``: all draws of whole
    crystals, guests as with ``auto``."""
    reference: Annotated[ReferenceConfig, BeforeValidator(as_reference)] = ReferenceConfig()
    """Competing phases for E_d."""
    second_reference: Annotated[ReferenceConfig | None, BeforeValidator(as_reference)] = None
    """Competing phases for E_d by ``screen.second_potential``, of its contract."""

    @field_validator("symmetry")
    @classmethod
    def _rising(cls, value: Symmetry) -> Symmetry:
        if isinstance(value, tuple) and value[0] > value[1]:
            raise ValueError(f"{list(value)}: the lower space group number comes first")
        return value

    @field_validator("compositions", mode="before")
    @classmethod
    def _formulas(cls, value: Any) -> Any:  # noqa: ANN401
        for item in as_list(value):
            with as_value_error():
                if isinstance(item, str):
                    comp.parse_formula(item)
                elif not isinstance(item, dict | BaseModel):
                    raise CompositionError(f"'{item}' is not a chemical formula")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        with as_value_error("compositions: "):
            formulas = self.formulas()
        if not formulas:
            raise ValueError("compositions: none is left within max_atoms")
        for guest in [] if self.guests == "auto" else self.guests:
            if guest not in comp.ATOMIC_NUMBERS:
                raise ValueError(f"guests: unknown element '{guest}'")
        for formula in formulas:
            elements = set(comp.parse_formula(formula))
            if self.guests == "auto":
                if len(elements) == 1:
                    raise ValueError(f"guests: 'auto' leaves no framework in '{formula}'")
                continue
            missing = [g for g in self.guests if g not in elements]
            if missing:
                raise ValueError(f"guests: '{missing[0]}' is not in '{formula}'")
            if elements <= set(self.guests):
                raise ValueError(f"guests: {self.guests} leave no framework in '{formula}'")
        return self

    def formulas(self) -> list[str]:
        """Canonical reduced compositions, in order, without repeats."""
        found: dict[str, None] = {}
        for item in self.compositions:
            formulas = [item] if isinstance(item, str) else item.expand()
            found.update({comp.canonical_formula(f): None for f in formulas})
        return list(found)

    @property
    def elements(self) -> set[str]:
        """All elements of all compositions."""
        return {symbol for f in self.formulas() for symbol in comp.parse_formula(f)}


def generator_plugins() -> dict[str, metadata.EntryPoint]:
    """Generators that installed packages offer, by name; nothing is imported."""
    return {point.name: point for point in metadata.entry_points(group=GENERATOR_GROUP)}


def _known_generators() -> list[str]:
    return [*GENERATORS, *sorted(set(generator_plugins()) - set(GENERATORS))]


class LatticeConfig(Strict):
    """How cells are drawn."""

    types: Annotated[list[Bravais], Field(min_length=1)] = list(BRAVAIS_TYPES)
    """Bravais types to draw from, in equal shares."""
    ratio: tuple[Positive, Positive] = (0.5, 1.5)
    """Range of free axis ratios b/a and c/a (drawn evenly in their logarithm)."""
    angle: tuple[Annotated[float, Field(gt=30)], Annotated[float, Field(lt=150)]] = (60.0, 120.0)
    """Range of free angles in degrees."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for key in ("ratio", "angle"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"{key} [{low}, {high}]: the lower limit comes first")
        return self


class GenerateConfig(Strict):
    """Unconditional generation."""

    generator: BuiltinGenerator | str = "diffusion"
    """What makes the structures: ``diffusion`` (score network), ``random`` (sensible
    distances), ``pyxtal`` (random symmetric crystals), ``file`` (your own structures), or
    the name of an installed plug-in (docs/generators.md)."""
    path: Path | None = None
    """For ``file``: a folder of CIFs, an extxyz file, or a Parquet or CSV table."""
    options: dict[str, Any] = {}
    """For plug-ins: whatever they ask for."""
    checkpoint: str = PRETRAINED
    """Score network: ``pretrained`` or the path of a .safetensors file."""
    sampler: Literal["fast", "paper"] = "fast"
    """``paper``: 200 levels with 5 corrector steps (1,200 score calls); ``fast``: an
    EDM-type grid with stochastic Heun steps (29 per draw)."""
    lattice: LatticeConfig = LatticeConfig()
    """How cells are drawn."""
    candidates: Count | None = None
    """Draws per structure, each in a cell of its own shape; the one with the lowest
    single-point energy is kept. Default: 16 with ``diffusion``, 1 with other generators."""
    ranking_potential: Words = "chgnet-0.3.0"
    """Potential that ranks the draws, by name."""
    batch_atoms: Count = 1200
    """Most atoms sampled at once."""

    @field_validator("generator")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in GENERATORS and name not in generator_plugins():
            raise ValueError(f"unknown generator (known: {', '.join(_known_generators())})")
        return name

    @model_validator(mode="after")
    def _fits_generator(self) -> Self:
        if (self.generator == "file") != (self.path is not None):
            raise ValueError("'path' goes with generator 'file', and only with it")
        if self.options and self.generator in GENERATORS:
            raise ValueError(f"options: generator '{self.generator}' has none, plug-ins may")
        return self

    @property
    def draws(self) -> int:
        """Candidates per structure."""
        if not self.draws_cells:
            return 1
        return self.candidates or (16 if self.generator == "diffusion" else 1)

    @property
    def draws_cells(self) -> bool:
        """False if the structures surely come with cells of their own."""
        return self.generator != "file"


class RelaxConfig(Strict):
    """Relaxation with a foundation potential (both relaxations)."""

    potential: Words = "chgnet-0.3.0"
    """Interatomic potential: ``chgnet-0.3.0``, ``chgnet-0.2.0``, ``chgnet-r2scan`` or a name
    in ``potentials``; its functional and corrections must be the reference's."""
    fmax: Positive = 0.1
    """Force criterion, eV/Å."""
    smax: Positive = 1.0
    """Stress criterion when the cell is free, GPa."""
    max_steps: Count = 500
    """Step limit per structure."""
    relax_cell: bool = True
    """Relax the cell with the positions."""
    min_distance: Positive = 0.5
    """Structures with a shorter distance (Å) at the start are not relaxed."""
    batch_atoms: Count = 400
    """Most atoms relaxed at once; halves by itself when memory ends."""
    repair: bool = False
    """Push overlapping atoms apart before relaxing, instead of refusing the structure."""
    keep_symmetry: bool = False
    """Keep the space group of the start."""
    symmetry_symprec: Positive = 0.1
    """Distance tolerance (Å) at which that space group is found."""
    fix_host: bool = False
    """In ``rerelax``, move only the guests that were inpainted; hosts and cell stay."""


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
    """(symprec, angle tolerance) tried in order until the space group is above P-1."""
    max_displacement: Positive = 1.5
    """Cap on the displacement of any host atom by symmetrisation, Å."""
    max_rms_displacement: Positive = 0.8
    """Cap on the RMS displacement of the host atoms, Å."""
    max_strain: Positive = 0.15
    """Cap on the principal strain of the host cell by symmetrisation."""
    host_cell: Literal["input", "primitive", "conventional"] = "input"
    """Cell that the guests are put back into."""
    max_atoms: Count = 100
    """Frameworks whose full cell would hold more atoms are refused."""


class InpaintConfig(Strict):
    """Guests back into the framework."""

    checkpoint: str = PRETRAINED
    """Score network: ``pretrained`` or the path of a .safetensors file."""
    sampler: Literal["fast", "paper"] = "fast"
    """``paper``: predictor-corrector with RePaint resampling (some 3,600 score calls);
    ``fast``: a noise level per atom, hosts clean, no resampling (29 per draw)."""
    resampling: Count = 3
    """For ``paper``: passes per noise level (r)."""
    draws: Count = 3
    """Independent structures per framework."""
    candidates: Count = 8
    """Draws per structure; the one with the lowest single-point energy is kept."""
    ranking_potential: Words = "chgnet-0.3.0"
    """Potential that ranks the draws, by name."""
    batch_atoms: Count = 1200
    """Most atoms sampled at once."""


class ScreenConfig(Strict):
    """Which structures count as symmetric, stable, new."""

    symprec: Positive = 0.1
    """Distance tolerance of the symmetry verdict, Å."""
    angle_tolerance: Positive = 10.0
    """Angle tolerance of the symmetry verdict, degrees."""
    tolerances: list[Positive] = [0.01, 0.1, 0.3]
    """Further distance tolerances (Å) at which the space group is recorded."""
    min_distance: Positive = 1.0
    """Shortest distance (Å) that a success may have."""
    threshold: Positive = 0.1
    """E_d (eV/atom) under which a structure goes on; the paper advises 0.03."""
    max_selected: Count = 20
    """Most structures per composition that go on to DFT, lowest E_d first."""
    require_symmetric: bool = False
    """Only structures above P-1 go on."""
    second_potential: Words | None = None
    """Second opinion on the selected structures, by name (``chgnet-r2scan``); its energies
    stand in columns of their own and are never mixed with the first."""
    second_relax: bool = False
    """Relax with the second potential (criteria of ``relax``) instead of single points."""


class SubmitConfig(Strict):
    """Hand-off to DFT."""

    engine: Literal["vasp"] = "vasp"
    """Code that the inputs are written for."""
    input_set: Literal["MP24RelaxSet", "MPScanRelaxSet"] = "MP24RelaxSet"
    """pymatgen input set, both r²SCAN."""
    potcar: Literal["auto", "spec"] = "auto"
    """``auto``: full POTCARs if PMG_VASP_PSP_DIR is set, otherwise POTCAR.spec."""


class ReportConfig(Strict):
    """Tables and pages."""

    candidates: Count = 12
    """Structures shown with a picture, lowest E_d first."""


class TrainConfig(Strict):
    """Training of a score network (rule ``train``, only run when asked for)."""

    data: Path | None = None
    """CSV (or CSV.gz) with a ``cif`` column, as in the public mp_20 and mpts_52 files;
    empty: the Materials Project with the key in MP_API_KEY."""
    validation: Path | None = None
    """Same kind of file, for the validation loss."""
    output: Path = Path("runs/score")
    """Directory of checkpoints and log."""
    preset: Literal["default", "small", "paper", "tiny"] = "default"
    """Network and noise settings (chggen.diffusion.settings)."""
    epochs: Count = 40
    """Passes over the data."""
    batch_atoms: Count = 384
    """Atoms per training step."""
    compile: bool = True
    """Compile the network first (a minute; several times faster afterwards; needs a
    C++ compiler)."""


class Config(Strict):
    """A campaign."""

    seed: Annotated[int, Field(ge=0)] = 2025
    """Campaign seed: every random number follows from it."""
    results: Path = Path("results")
    """Directory of all tables."""
    systems: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")], SystemConfig],
        Field(min_length=1),
    ]
    """Chemical systems by name; the name becomes a folder (letters, digits, ``-_.``)."""
    potentials: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")], PotentialConfig
    ] = {}
    """Potentials of your own by name, besides the CHGNets in the package."""
    generate: GenerateConfig = GenerateConfig()
    """Unconditional generation."""
    relax: RelaxConfig = RelaxConfig()
    """Relaxation, also after inpainting."""
    refine: RefineConfig = RefineConfig()
    """Frameworks."""
    inpaint: InpaintConfig = InpaintConfig()
    """Inpainting."""
    screen: ScreenConfig = ScreenConfig()
    """Symmetry, E_d, duplicates, novelty."""
    submit: SubmitConfig = SubmitConfig()
    """DFT inputs."""
    report: ReportConfig = ReportConfig()
    """Report."""
    train: TrainConfig = TrainConfig()
    """Training of a score network."""

    @field_validator("potentials")
    @classmethod
    def _names_are_free(cls, value: dict[str, PotentialConfig]) -> dict[str, PotentialConfig]:
        taken = sorted(set(value) & set(POTENTIALS))
        if taken:
            raise ValueError(f"'{taken[0]}' is the name of a potential in the package")
        return value
