"""Volume regression: invariances, known crystals, errors, training on made-up tables."""

import gzip
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chggen.cells import volume as vol
from chggen.cells import volume_training as training
from chggen.errors import CheckpointError, CompositionError, TableError
from chggen.structure.composition import ATOMIC_NUMBERS, canonical

CARD = json.loads(vol.PRETRAINED.with_suffix(".json").read_text(encoding="utf-8"))
COUNTS = st.dictionaries(
    st.sampled_from(CARD["elements"]), st.integers(1, 12), min_size=1, max_size=6
)
#: Measured volumes per atom (Å³) at room temperature, from textbook lattice constants.
MEASURED = {
    "Si": 5.431**3 / 8,
    "NaCl": 5.640**3 / 8,
    "MgO": 4.212**3 / 8,
    "ZnS": 5.409**3 / 8,
    "GaAs": 5.653**3 / 8,
    "InP": 5.869**3 / 8,
    "CdTe": 6.482**3 / 8,
    "KBr": 6.598**3 / 8,
    "Fe": 2.866**3 / 2,
    "TiC": 4.328**3 / 8,
    "CeO2": 5.411**3 / 12,
    "Li2O": 4.619**3 / 12,
    "CaF2": 5.463**3 / 12,
    "SrTiO3": 3.905**3 / 5,
    "MgAl2O4": 8.083**3 / 56,
    "Cu": 3.615**3 / 4,
    "W": 3.165**3 / 2,
    "Ni3Al": 3.572**3 / 4,
}


def written(counts):
    return "".join(f"{s}{n}" for s, n in counts.items())


@given(COUNTS, st.integers(2, 9), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_multiples_and_order_do_not_matter(counts, times, random):
    shuffled = list(counts.items())
    random.shuffle(shuffled)
    other = written({s: n * times for s, n in shuffled})
    assert vol.predict_volume_per_atom(other) == vol.predict_volume_per_atom(canonical(counts))


@given(COUNTS)
@settings(max_examples=60, deadline=None)
def test_any_composition_has_a_sane_volume(counts):
    found = vol.predict_volume_per_atom(written(counts))
    assert 3 < found.volume_per_atom < 200
    assert 0 <= found.spread < 1


def test_brackets_are_read():
    assert vol.predict_volume_per_atom("Zn3(PS4)2") == vol.predict_volume_per_atom("Zn3P2S8")


def test_known_crystals():
    # GGA cells are some 3 % larger than measured ones; some of these formulas are in the
    # training data as another polymorph only (MgO), which the outer limit allows for
    found = [vol.predict_volume_per_atom(f).volume_per_atom for f in MEASURED]
    error = np.abs(np.array(found) / (1.03 * np.array(list(MEASURED.values()))) - 1)
    assert np.median(error) < 0.04
    assert error.max() < 0.2


def test_many_at_once_are_as_one_by_one():
    formulas = ["Si", "ZnS", "Li3PS4", "O2", "Zn2P2S7", "LiCoO2", "Na2S", "Fe"]
    together = vol.predict_volumes(formulas * 80)
    for i, estimate in enumerate(together):
        alone = vol.predict_volume_per_atom(formulas[i % len(formulas)])
        assert estimate.volume_per_atom == pytest.approx(alone.volume_per_atom, rel=1e-5)


def test_an_element_that_was_never_seen_is_one_clear_line():
    with pytest.raises(CompositionError, match="Es") as caught:
        vol.predict_volume_per_atom("EsO2")
    assert "\n" not in str(caught.value)


def test_elements_that_were_hardly_seen_are_named():
    assert vol.predict_volume_per_atom("KrF2").elements_unknown == ("Kr",)
    assert vol.predict_volume_per_atom("ZnS").elements_unknown == ()


@pytest.mark.parametrize("formula", ["", "Qq2", "Zn0S", "Zn1.5S"])
def test_what_is_no_formula_is_refused(formula):
    with pytest.raises(CompositionError):
        vol.predict_volume_per_atom(formula)


def test_order_of_elements_in_the_network():
    weights = vol.load_model(vol.PRETRAINED)
    z = np.array([[30, 15, 16, 3]])
    fractions = np.array([[0.1, 0.2, 0.4, 0.3]], dtype=np.float32)
    turned = [2, 0, 3, 1]
    first = vol.log_volumes(weights, z, fractions, np)
    second = vol.log_volumes(weights, z[:, turned], fractions[:, turned], np)
    assert np.allclose(first, second, atol=1e-5)


def test_torch_and_numpy_evaluate_the_same_network():
    weights = vol.load_model(vol.PRETRAINED)
    z, fractions = np.array([[30, 15, 16]]), np.array([[2, 2, 7]], np.float32) / 11
    tensors = {name: torch.from_numpy(array.copy()) for name, array in weights.items()}
    ours = vol.log_volumes(weights, z, fractions, np)
    theirs = vol.log_volumes(tensors, torch.from_numpy(z), torch.from_numpy(fractions), torch)
    assert np.allclose(ours, theirs.numpy(), atol=1e-5)


def test_the_card_belongs_to_the_weights():
    data = vol.PRETRAINED.read_bytes()
    assert CARD["sha256"] == hashlib.sha256(data).hexdigest()
    assert len(data) < 1_500_000
    formulas = vol.load_model(vol.PRETRAINED)["element.formulas"]
    assert CARD["elements"] == [s for s, z in ATOMIC_NUMBERS.items() if formulas[z]]
    judged = CARD["held_out"]["lowest_per_formula"]
    assert judged["structures"] >= 900
    assert judged["mean_percent"] < 4
    assert judged["median_percent"] < 2.5


def test_the_shipped_model_was_trained_with_the_default_settings():
    settings_ = {k: v for k, v in CARD["settings"].items() if k != "layers"}
    assert training.VolumeTraining(**settings_) == training.VolumeTraining()
    assert CARD["properties"] == list(training.PROPERTIES)


def test_predictions_need_numpy_only():
    code = (
        "import sys; from chggen.cells.volume import predict_volume_per_atom as p; p('ZnS');"
        "print({'torch', 'pymatgen', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_model_file_that_is_missing_damaged_or_another(tmp_path):
    from safetensors.numpy import save_file

    data = vol.PRETRAINED.read_bytes()
    (tmp_path / "short").write_bytes(data[: len(data) // 2])
    (tmp_path / "text").write_text("not a model")
    save_file({"a": np.zeros(3)}, tmp_path / "other")
    for name in ("short", "text", "other", "missing"):
        with pytest.raises(CheckpointError, match=name):
            vol.predict_volume_per_atom("ZnS", tmp_path / name)


# --- training -------------------------------------------------------------------------

ELEMENTS = {"Li": 14.0, "Na": 22.0, "Zn": 15.0, "P": 17.0, "S": 19.0, "Cl": 21.0}


def cif(counts, volume):
    content = " ".join(f"{s}{n}" for s, n in counts.items())
    return f"# CIF\ndata_x\n_chemical_formula_sum   '{content}'\n_cell_volume   {volume:.8f}\n"


def table(path, rows, columns=("material_id", "e_above_hull", "cif")):
    lines = [",".join(columns)]
    lines += [f'{i},{above},"{text}"' for i, (above, text) in enumerate(rows)]
    data = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def made_up(n, seed):
    """Structures whose elements take fixed volumes."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        chosen = rng.choice(list(ELEMENTS), rng.integers(1, 4), replace=False)
        counts = {str(s): int(rng.integers(1, 9)) for s in chosen}
        rows.append((0.0, cif(counts, sum(ELEMENTS[s] * n for s, n in counts.items()))))
    return rows


SMALL = training.VolumeTraining(members=2, width=8, hidden=8, epochs=10, batch=16)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    return table(folder / "train.csv.gz", made_up(250, 0)), table(
        folder / "val.csv", made_up(60, 1)
    )


def test_training_learns_reports_and_repeats_itself(tables, tmp_path):
    train, val = tables
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    card = training.train([train], [val], tmp_path / "a", SMALL)
    again = training.train([train], [val], tmp_path / "b", SMALL)

    files = [(tmp_path / d / "volume.safetensors").read_bytes() for d in "ab"]
    assert files[0] == files[1]
    assert card["sha256"] == again["sha256"] == hashlib.sha256(files[0]).hexdigest()
    assert json.loads((tmp_path / "a" / "volume.json").read_text(encoding="utf-8")) == card
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads

    assert card["held_out"]["lowest_per_formula"]["mean_percent"] < 2
    assert card["data"]["structures"] == 250
    assert sorted(card["elements"]) == sorted(ELEMENTS)
    found = vol.predict_volume_per_atom("Li3PS4", tmp_path / "a" / "volume.safetensors")
    assert found.volume_per_atom == pytest.approx((3 * 14 + 17 + 4 * 19) / 8, rel=0.05)


def test_data_digest_is_of_the_content_not_of_the_compression(tables, tmp_path):
    train, _ = tables
    plain = tmp_path / "train.csv"
    plain.write_bytes(gzip.decompress(train.read_bytes()))
    assert training.read_records([train]).digest == training.read_records([plain]).digest
    assert training.read_records([plain]).digest == hashlib.sha256(plain.read_bytes()).hexdigest()


def test_formulas_that_were_trained_on_are_not_judged_on(tables, tmp_path):
    train, _ = tables
    small = training.VolumeTraining(members=1, width=4, hidden=4, epochs=1)
    card = training.train([train], [train], tmp_path, small)
    assert "all" not in card["held_out"]


def test_the_lowest_structure_of_a_formula_is_the_target(tmp_path):
    rows = [
        (0.2, cif({"Zn": 1, "S": 1}, 50.0)),
        (0.1, cif({"S": 4, "Zn": 4}, 160.0)),
        (0.3, cif({"Si": 2}, 40.0)),
    ]
    lowest = training.read_records([table(tmp_path / "t.csv", rows)]).lowest()
    assert lowest.formulas == ["ZnS", "Si"]
    assert lowest.volumes.tolist() == [20.0, 20.0]


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([], ("material_id", "e_above_hull", "cif"), "no structures"),
        ([(0.1, "x")], ("material_id", "energy", "cif"), "e_above_hull"),
        ([(0.1, "data_x")], ("material_id", "e_above_hull", "cif"), "row 1"),
        ([("?", cif({"Si": 1}, 20))], ("material_id", "e_above_hull", "cif"), "row 1"),
    ],
)
def test_a_table_that_will_not_do(tmp_path, rows, columns, message):
    with pytest.raises(TableError, match=message):
        training.read_records([table(tmp_path / "t.csv", rows, columns)])


def test_a_table_that_cannot_be_read(tmp_path):
    with pytest.raises(TableError, match=r"missing\.csv"):
        training.read_records([tmp_path / "missing.csv"])
    whole = table(tmp_path / "t.csv.gz", made_up(50, 0)).read_bytes()
    (tmp_path / "t.csv.gz").write_bytes(whole[:-40])
    with pytest.raises(TableError, match=r"t\.csv\.gz"):
        training.read_records([tmp_path / "t.csv.gz"])


def test_element_properties_cover_the_elements():
    properties = training.element_properties()
    columns = dict(zip(training.PROPERTIES, properties.T, strict=True))
    assert properties.shape == (104, len(training.PROPERTIES))
    assert columns["X"][8] == pytest.approx(3.44)
    assert [columns[k][30] for k in "spdf"] == [2, 0, 10, 0]
    assert [columns[k][82] for k in "spdf"] == [2, 2, 10, 14]
    assert np.isfinite(properties[[3, 15, 16, 30]]).all()
