"""Shards, seeds, settings and digests: what reruns, and what does not."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from chggen import provenance
from chggen.campaign import plan as camp
from chggen.campaign.plan import Campaign
from chggen.campaign.seeds import row_seeds, seed_sequence

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "config" / "config.yaml"


def load(**changes: object) -> Campaign:
    return Campaign.load(changes, DEMO)


def test_shards_are_compositions_times_seeds() -> None:
    campaign = load()
    assert [s.folder for s in campaign.shards] == [
        "Zn-P-S/ZnP2S6/0",
        "Zn-P-S/ZnP2S6/1",
        "Zn-P-S/Zn2P2S7/0",
        "Zn-P-S/Zn2P2S7/1",
    ]
    assert campaign.tables("Zn-P-S", "relaxed")[0] == "results/Zn-P-S/ZnP2S6/0/relaxed.parquet"
    assert "results/Zn-P-S/report.html" in campaign.targets()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), shard=st.integers(0, 1000))
def test_streams_differ_by_everything_that_names_them(seed: int, shard: int) -> None:
    def first(*key: object) -> int:
        return int(seed_sequence(*key).generate_state(1)[0])  # type: ignore[arg-type]

    base = first(seed, "ZnS", shard, "generate")
    assert base == first(seed, "ZnS", shard, "generate")
    others = {
        first(seed + 1, "ZnS", shard, "generate"),
        first(seed, "ZnS2", shard, "generate"),
        first(seed, "ZnS", shard + 1, "generate"),
        first(seed, "ZnS", shard, "inpaint"),
    }
    assert base not in others
    assert len(others) == 4


def test_more_rows_leave_the_first_ones_alone() -> None:
    few = row_seeds(np.random.SeedSequence(3), 4)
    many = row_seeds(np.random.SeedSequence(3), 9)
    assert many[:4] == few
    assert len(set(many)) == 9
    assert all(0 <= s < 2**63 for s in many)


def test_a_key_reaches_only_the_stages_that_depend_on_it() -> None:
    base, other = load(), load(screen={"threshold": 0.03})
    stages = (*camp.SHARD_STAGES, "screen", "submit")
    moved = [s for s in stages if base.settings(s, "Zn-P-S") != other.settings(s, "Zn-P-S")]
    assert moved == ["screen"]
    other = load(relax={"fmax": 0.2})
    moved = [s for s in stages if base.settings(s, "Zn-P-S") != other.settings(s, "Zn-P-S")]
    # the final relaxation is never looser than the first
    assert moved == ["relax", "rerelax", "screen"]
    other = load(relax={"final": {"fmax": 0.02}})
    moved = [s for s in stages if base.settings(s, "Zn-P-S") != other.settings(s, "Zn-P-S")]
    assert moved == ["screen"]


def test_code_digest_follows_the_imports() -> None:
    reached = provenance.reachable("chggen.stages.refine")
    assert "chggen.symmetry.analysis" in reached
    assert "chggen.symmetry.framework" in reached
    assert "chggen.tables.parquet" in reached
    assert "chggen.diffusion.network" not in reached
    assert "chggen.diffusion.network" in provenance.reachable("chggen.stages.generate")
    assert load().code("relax") == load().code("rerelax") != load().code("refine")


def test_every_resource_belongs_to_a_module_and_exists() -> None:
    for module, patterns in provenance.RESOURCES.items():
        assert provenance.module_path(module) is not None, module
        for pattern in patterns:
            assert list(provenance.PACKAGE.glob(pattern)), pattern


def test_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert provenance.digest({"a": 1, "b": [2]}) == provenance.digest({"b": [2], "a": 1})
    assert provenance.digest({"a": 1}) != provenance.digest({"a": 2})


def test_parsing_needs_neither_torch_nor_pymatgen() -> None:
    """Every cluster job parses the Snakefile again."""
    code = (
        "import sys; from chggen.campaign.plan import Campaign;"
        f"Campaign.load(None, {str(DEMO)!r}).targets();"
        "print([m for m in ('torch', 'pymatgen', 'scipy', 'pandas') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert result.stdout.strip() == "[]"
