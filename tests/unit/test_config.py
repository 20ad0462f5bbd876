"""Every mistake in a configuration is one line that names key and value."""

import copy
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from chggen.campaign.plan import Campaign
from chggen.config import load as configfile
from chggen.config.model import Config
from chggen.config.stages import GenerateConfig, RelaxConfig
from chggen.errors import ConfigError

ROOT = Path(__file__).parents[2]
GOOD: dict[str, Any] = {
    "systems": {"Zn-P-S": {"compositions": ["ZnP2S6", "Zn2P2S7"], "guests": ["Zn"]}}
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """GOOD with one nested key set; ``/`` separates keys."""
    content = copy.deepcopy(GOOD)
    *above, last = path.split("/")
    place = content
    for key in above:
        place = place.setdefault(key, {})
    place[last] = value
    return content


def line_of(content: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        Campaign.load(content, "unused")
    text = str(caught.value)
    assert "\n" not in text
    return text


SYSTEM = "systems/Zn-P-S/"
BAD = [
    ("symprek", 0.1, ["symprek"]),
    ("screen/symprek", 0.1, ["screen.symprek", "symprec"]),
    (SYSTEM + "latice_seeds", 1, ["systems.Zn-P-S.latice_seeds", "lattice_seeds"]),
    (SYSTEM + "compositions", ["Zx2"], ["compositions", "Zx"]),
    (SYSTEM + "compositions", ["Zn0.5PS3"], ["compositions", "Zn0.5PS3", "0.5"]),
    (SYSTEM + "compositions", [], ["compositions"]),
    (SYSTEM + "compositions", {"line": ["ZnS", "P2S5"], "max_atoms": 2}, ["compositions"]),
    (SYSTEM + "compositions", {"range": "Zn_x Q_y"}, ["compositions", "Q_y"]),
    (SYSTEM + "compositions", {"range": "Zn_x S_y", "where": "z > y"}, ["compositions", "z"]),
    (SYSTEM + "guests", ["Li"], ["guests", "Li", "ZnP2S6"]),
    (SYSTEM + "guests", ["Zn", "P", "S"], ["guests", "framework"]),
    (SYSTEM + "lattice_seeds", 0, ["lattice_seeds", "0"]),
    (SYSTEM + "lattices_per_seed", -3, ["lattices_per_seed", "-3"]),
    (SYSTEM + "formula_units", [1, 0], ["formula_units", "0"]),
    (SYSTEM + "volume_per_atom", "large", ["volume_per_atom", "large"]),
    (SYSTEM + "volume_per_atom", -20, ["volume_per_atom", "-20"]),
    (SYSTEM + "symmetry", 231, ["systems.Zn-P-S.symmetry", "231"]),
    (SYSTEM + "symmetry", "high", ["systems.Zn-P-S.symmetry", "high"]),
    (SYSTEM + "symmetry", [230, 195], ["systems.Zn-P-S.symmetry", "[230, 195]"]),
    ("generate/candidates", 0, ["generate.candidates", "0"]),
    (SYSTEM + "reference", "internet", ["reference.source", "internet"]),
    (SYSTEM + "reference", {"source": "file", "path": "nowhere.csv"}, ["reference", "nowhere.csv"]),
    (SYSTEM + "reference", "materials-project", ["reference", "MP_API_KEY"]),
    ("screen/threshold", -0.1, ["screen.threshold", "-0.1"]),
    ("screen/min_distance", 0, ["screen.min_distance", "0"]),
    ("relax/fmax", -1, ["relax.fmax", "-1"]),
    ("relax/potential", "chgnet-9", ["relax.potential", "chgnet-9"]),
    ("relax/potential", "chgnet-r2scan", ["reference", "r2SCAN", "MP2020"]),
    ("refine/max_displacement", -0.5, ["refine.max_displacement", "-0.5"]),
    ("inpaint/draws", -1, ["inpaint.draws", "-1"]),
    ("generate/checkpoint", "missing.safetensors", ["generate.checkpoint", "missing.safetensors"]),
    ("generate/lattice", {"ratio": [1.5, 0.5]}, ["generate.lattice", "1.5"]),
    ("seed", -1, ["seed", "-1"]),
    ("systems/a b", GOOD["systems"]["Zn-P-S"], ["systems.a b"]),
]


@pytest.mark.parametrize(("path", "value", "named"), BAD, ids=[f"{p}={v}" for p, v, _ in BAD])
def test_bad_value_is_one_line(path: str, value: Any, named: list[str]) -> None:
    text = line_of(changed(path, value))
    for word in named:
        assert word in text, text


def test_reference_must_cover_the_system() -> None:
    pairs = {"kind": "lennard-jones", "options": {"sigma": 2.5, "epsilon": 0.1}}
    content = {
        "systems": {"Ra-Cl": {"compositions": ["RaCl2"], "guests": ["Ra"]}},
        "potentials": {"pairs": {**pairs, "functional": "GGA/GGA+U", "corrections": "MP2020"}},
        "relax": {"potential": "pairs"},
        "generate": {"ranking_potential": "pairs"},
        "inpaint": {"ranking_potential": "pairs"},
    }  # any element will do for it
    text = line_of(content)
    assert "systems.Ra-Cl.reference" in text
    assert "no builtin table has Ra" in text


def test_only_the_diffusion_model_keeps_a_space_group() -> None:
    content = changed("generate/generator", "random")
    assert Campaign.load(content, "unused").config.generate.draws == 1
    content["systems"]["Zn-P-S"]["symmetry"] = 225
    text = line_of(content)
    assert "systems.Zn-P-S.symmetry" in text
    assert "225" in text
    assert "random" in text


@pytest.mark.parametrize("value", ["none", "auto", 225, [195, 230]])
def test_symmetry(value: Any) -> None:
    kept = Campaign.load(changed(SYSTEM + "symmetry", value), "unused").settings(
        "generate", "Zn-P-S"
    )
    assert kept["symmetry"] == (tuple(value) if isinstance(value, list) else value)


def test_checkpoint_must_know_the_elements(tmp_path: Path) -> None:
    save_file({"weight": np.zeros(3)}, tmp_path / "net.safetensors")
    card = {"hash": "0", "network": {}, "elements": {"Zn": 1, "S": 1}}
    (tmp_path / "net.json").write_text(json.dumps(card))
    text = line_of(changed("generate/checkpoint", str(tmp_path / "net.safetensors")))
    assert "generate.checkpoint" in text
    assert "P" in text.split("trained on")[1]


@pytest.mark.parametrize("text", ["systems: [", "- a\n- b", "just words"])
def test_unreadable_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        configfile.read_yaml(path)
    with pytest.raises(ConfigError, match="nowhere"):
        configfile.read_yaml(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("name", ["config.yaml", "paper.yaml", "test.yaml"])
def test_shipped_configs_are_good(name: str) -> None:
    campaign = Campaign.load(None, ROOT / "config" / name)
    assert campaign.shards


def test_paper_config_names_all_of_the_papers_compositions() -> None:
    """Li_x Si_y with x > y and at most 25 atoms, and the two of Zn-P-S."""
    systems = Campaign.load(None, ROOT / "config" / "paper.yaml").config.systems
    assert systems["Zn-P-S"].formulas() == ["ZnP2S6", "Zn2P2S7"]
    lithium = systems["Li-Si"].formulas()
    assert {"Li5Si2", "Li2Si", "Li4Si", "Li15Si4", "Li21Si4"} <= set(lithium)
    assert len(lithium) == len(set(lithium))
    assert systems["Zn-P-S"].lattices_per_seed == 35


def test_without_systems_the_demo_is_changed() -> None:
    campaign = Campaign.load({"screen": {"threshold": 0.03}}, ROOT / "config" / "config.yaml")
    assert campaign.config.screen.threshold == 0.03
    assert list(campaign.config.systems) == ["Zn-P-S"]


def test_with_systems_the_demo_is_left_out() -> None:
    content = {"systems": {"Zn-S": {"compositions": "ZnS", "guests": ["Zn"]}}}
    assert list(Campaign.load(content, ROOT / "config" / "config.yaml").config.systems) == ["Zn-S"]


def test_sections_on_the_command_line() -> None:
    settings = configfile.parse_section(RelaxConfig, "relax", None, ["fmax=0.05"])
    assert settings.fmax == 0.05
    nested = configfile.parse_section(
        GenerateConfig, "generate", None, ["lattice.types=[cubic]", "sampler=paper"]
    )
    assert (nested.lattice.types, nested.sampler) == (["cubic"], "paper")
    with pytest.raises(ConfigError, match=r"relax\.fmaks.*fmax"):
        configfile.parse_section(RelaxConfig, "relax", None, ["fmaks=1"])
    with pytest.raises(ConfigError, match="key=value"):
        configfile.parse_section(RelaxConfig, "relax", None, ["fmax"])


def test_schema_and_readme_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "config" / "make_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "config" / "schema.json").read_text() == module.render_schema()
    assert (ROOT / "config" / "README.md").read_text() == module.render_readme()


def test_shipped_configs_fit_the_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "config" / "schema.json").read_text())
    # the schema describes the strict form; the shorthands are opened by the models
    for name in ("config.yaml", "paper.yaml", "test.yaml", "demo-dft.yaml"):
        config = configfile.parse(configfile.read_yaml(ROOT / "config" / name))
        jsonschema.validate(config.model_dump(mode="json"), schema)


def test_every_key_says_what_it_is() -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            for key, value in node.get("properties", {}).items():
                # a section's meaning may stand in the model it refers to
                assert value.get("description") or "$ref" in value, key
            for value in node.values():
                walk(value)

    walk(Config.model_json_schema())
