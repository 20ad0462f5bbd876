"""The hull of the builtin tables, and what E_d must be invariant under."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chggen.config.contracts import GGA, MP2020, NONE, R2SCAN, Contract
from chggen.config.energies import ReferenceConfig
from chggen.errors import ContractError, ReferenceCoverageError
from chggen.reference.files import Phase
from chggen.reference.hull import decomposition, phase_diagram
from chggen.reference.reference import Reference, load_reference
from chggen.structure import composition as comp

CONTRACT = Contract(GGA, MP2020)
BUILTIN = ReferenceConfig()


def energy(reference: Reference, formula: str, formation_energy: float) -> float:
    """Total energy per atom that has a given formation energy."""
    counts = comp.parse_formula(formula)
    mean = sum(n * reference.elements[s] for s, n in counts.items()) / sum(counts.values())
    return formation_energy + mean


#: Hull energies of the Zn-P-S system that the Materials Project's records imply.
ZN_P_S = {
    "ZnS": -1.0631, "Zn3(PS4)2": -0.7734, "ZnPS3": -0.7328, "ZnP2": -0.2485, "P2S7": -0.5120,
    "P2S3": -0.4747, "P4S3": -0.3619, "S": 0.0, "P": 0.0, "Zn": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(("formula", "hull"), ZN_P_S.items())
def test_hull_of_zinc_thiophosphates(formula: str, hull: float) -> None:
    reference = load_reference(BUILTIN, {"Zn", "P", "S"})
    found = decomposition(reference, formula, energy(reference, formula, 0.0), CONTRACT)
    assert -found.decomposition_energy == pytest.approx(hull, abs=5e-5)
    assert found.products == f"1.000 {comp.canonical_formula(formula)}"


#: Records of the Materials Project: formation energy and energy above hull, eV/atom.
ABOVE = {
    "P2S3": (-0.45364457020833343, 0.02107175009375073),
    "P4S3": (-0.36175835074404816, 0.00017990732142880717),
    "Zn3(PS4)2": (-0.76700612974359, 0.006421739332812315),
    "ZnPS3": (-0.7073187585416661, 0.0255224345306093),
    "ZnS": (-1.0622759084375, 0.0008555059821429),
    "Li15Si4": (-0.21964146763157918, 0.00259259275623247),
}


@pytest.mark.parametrize(("formula", "record"), ABOVE.items())
def test_hull_is_rebuilt_at_records(formula: str, record: tuple[float, float]) -> None:
    reference = load_reference(BUILTIN, set(comp.parse_formula(formula)))
    formation, above = record
    assert formation in {p.formation_energy_per_atom for p in reference.phases}
    found = decomposition(reference, formula, energy(reference, formula, formation), CONTRACT)
    assert found.formation_energy_per_atom == pytest.approx(formation, abs=1e-9)
    assert found.decomposition_energy == pytest.approx(above, abs=2e-5)
    assert found.uncertainty == pytest.approx(0.0, abs=1e-9)


def test_a_hull_point_that_is_a_mixture_is_no_product() -> None:
    reference = load_reference(BUILTIN, {"Zn", "P", "S"})
    assert "ZnS2" not in {p.composition for p in reference.phases if p.label == "hull"}
    assert "ZnPS3" in {p.composition for p in reference.phases if p.label == "hull"}
    found = decomposition(reference, "ZnS2", 0.0, CONTRACT)
    assert found.products == "0.667 ZnS + 0.333 S"


compositions = st.dictionaries(
    st.sampled_from(["Zn", "P", "S"]), st.integers(1, 9), min_size=1, max_size=3
)


@given(counts=compositions, times=st.integers(2, 12), formation=st.floats(-2, 1))
@settings(max_examples=50, deadline=None)
def test_scaling_of_the_formula_unit_changes_nothing(
    counts: dict[str, int], times: int, formation: float
) -> None:
    reference = load_reference(BUILTIN, {"Zn", "P", "S"})
    formula = "".join(f"{s}{n}" for s, n in counts.items())
    scaled = "".join(f"{s}{n * times}" for s, n in reversed(counts.items()))
    total = energy(reference, formula, formation)
    first = decomposition(reference, formula, total, CONTRACT)
    second = decomposition(reference, scaled, total, CONTRACT)
    assert second.products == first.products
    assert second.decomposition_energy == pytest.approx(first.decomposition_energy, abs=1e-9)
    assert first.formation_energy_per_atom == pytest.approx(formation, abs=1e-9)


@given(counts=compositions, formation=st.floats(-3, 1))
@settings(max_examples=50, deadline=None)
def test_decomposition_energy_is_pymatgens(counts: dict[str, int], formation: float) -> None:
    """get_e_above_hull with allow_negative, for an entry outside the diagram."""
    from pymatgen.analysis.phase_diagram import PDEntry

    reference = load_reference(BUILTIN, {"Zn", "P", "S"})
    formula = comp.canonical(counts)
    atoms = sum(comp.parse_formula(formula).values())
    found = decomposition(reference, formula, energy(reference, formula, formation), CONTRACT)
    expected = phase_diagram(reference).get_e_above_hull(
        PDEntry(formula, formation * atoms), allow_negative=True
    )
    assert found.decomposition_energy == pytest.approx(expected, abs=1e-8)


@given(counts=compositions)
@settings(max_examples=50, deadline=None)
def test_products_carry_the_composition_and_the_hull_energy(counts: dict[str, int]) -> None:
    reference = load_reference(BUILTIN, {"Zn", "P", "S"})
    formula = comp.canonical(counts)
    found = decomposition(reference, formula, energy(reference, formula, 0.0), CONTRACT)
    lowest: dict[str, float] = dict.fromkeys(reference.elements, 0.0)
    for phase in reference.phases:
        lowest[phase.composition] = min(
            phase.formation_energy_per_atom, lowest.get(phase.composition, 0.0)
        )
    mixed: dict[str, float] = {}
    total = 0.0
    for product in found.products.split(" + "):
        share, name = product.split()
        inside = comp.parse_formula(name)
        for symbol, n in inside.items():
            mixed[symbol] = mixed.get(symbol, 0) + float(share) * n / sum(inside.values())
        total += float(share) * lowest[name]
    atoms = sum(counts.values())
    for symbol, n in counts.items():
        assert mixed[symbol] == pytest.approx(n / atoms, abs=2e-3)
    assert -found.decomposition_energy == pytest.approx(total, abs=3e-3)


def made(phases: dict[str, float]) -> Reference:
    return Reference(
        name="made up",
        date="2000-01-01",
        contract=CONTRACT,
        elements={"Zn": -1.0, "S": -4.0},
        phases=tuple(Phase("x", f, e) for f, e in phases.items()),
    )


def test_a_structure_that_breaks_the_hull_is_negative() -> None:
    reference = made({"ZnS": -1.0})
    below = decomposition(reference, "ZnS", -2.5 - 1.2, CONTRACT)
    assert below.decomposition_energy == pytest.approx(-0.2)
    beside = decomposition(reference, "Zn2S", energy(reference, "Zn2S", -1.0), CONTRACT)
    # hull at Zn2S is 2/3 of ZnS
    assert beside.decomposition_energy == pytest.approx(-1.0 + 2 / 3)
    assert beside.products == "0.667 ZnS + 0.333 Zn"


def test_a_polymorph_is_judged_against_the_stable_phase() -> None:
    reference = made({"ZnS": -1.0})
    same = decomposition(reference, "Zn2S2", -2.5 - 1.0, CONTRACT)
    assert same.decomposition_energy == pytest.approx(0.0)


def test_energies_of_another_contract_are_an_error() -> None:
    reference = made({"ZnS": -1.0})
    for other in (Contract(R2SCAN, NONE), Contract(GGA, NONE)):
        with pytest.raises(ContractError, match="cannot be compared"):
            decomposition(reference, "ZnS", -3.0, other)


def test_an_element_outside_the_reference_is_an_error() -> None:
    with pytest.raises(ReferenceCoverageError, match="Li"):
        decomposition(made({"ZnS": -1.0}), "LiZnS", -3.0, CONTRACT)
