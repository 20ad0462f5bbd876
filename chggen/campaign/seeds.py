"""Shards, and the random streams of their stages."""

import hashlib
from dataclasses import dataclass

import numpy as np


def seed_sequence(
    campaign_seed: int, composition: str, lattice_seed: int, stage: str
) -> np.random.SeedSequence:
    """Random stream of one stage of one shard; no other shard has a part in it.

    Args:
        campaign_seed: key ``seed`` of the config.
        composition: canonical formula.
        lattice_seed: of the shard.
        stage: name of the stage.
    """
    key = f"{composition}/{lattice_seed}/{stage}".encode()
    words = np.frombuffer(hashlib.sha256(key).digest(), dtype=np.uint32)
    return np.random.SeedSequence([campaign_seed, *(int(w) for w in words)])


def row_seeds(sequence: np.random.SeedSequence, count: int) -> list[int]:
    """One seed per row; the first k do not depend on how many follow."""
    return [int(s.generate_state(1, np.uint64)[0] >> np.uint64(1)) for s in sequence.spawn(count)]


@dataclass(frozen=True)
class Shard:
    """One composition with one lattice seed."""

    system: str
    composition: str
    seed: int

    @property
    def folder(self) -> str:
        """Its place under the results directory."""
        return f"{self.system}/{self.composition}/{self.seed}"
