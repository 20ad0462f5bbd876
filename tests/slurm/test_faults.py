"""What can happen to a job on a cluster, and to the process that drives it."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from chggen.errors import Status
from chggen.tables import parquet
from tests.slurm import cluster
from tests.slurm.conftest import Campaign, until

Make = Callable[..., Campaign]


def generate(seed: int) -> str:
    """SLURM's comment on the job of one shard."""
    return f"rule_generate_wildcards_Zn-S_ZnS_{seed}"


def tables_of(folder: Path, shards: int) -> dict[int, int]:
    """Times of the shards' tables, which must be whole and good."""
    times = {}
    for seed in range(shards):
        path = folder / "results" / "Zn-S" / "ZnS" / str(seed) / "generated.parquet"
        rows = parquet.read(path, "generated")
        assert [row["status"] for row in rows] == [Status.OK]
        times[seed] = path.stat().st_mtime_ns
    return times


def test_jobs_that_are_cancelled_late_greedy_or_killed_run_again(campaign: Make) -> None:
    """Five jobs; four are hit in their first attempt, each otherwise; all tables come."""
    hit = "attempt == 1 and wildcards.seed =="
    given = campaign(
        5,
        # a minute is the least that SLURM counts; too little memory for Python itself
        f"generate:runtime=1 if {hit} '1' else 15",
        f"generate:mem_mb=100 if {hit} '3' else 2000",
    )
    run = given.start("--until", "generate")
    strikes = {
        0: lambda script: subprocess.run(
            ["scancel", script.environ()["SLURM_JOB_ID"]], check=True, timeout=60
        ),
        1: lambda script: script.suspend(),
        2: lambda script: script.kill(),
    }
    while strikes:  # in whatever order they come
        seed, script = until(
            lambda: next(((s, p) for s in strikes if (p := given.find(generate(s)))), None),
            f"one of {list(strikes)} to run",
        )
        strikes.pop(seed)(script)
    assert run.wait() == 0, given.output.read_text()
    tables_of(given.folder, 5)
    assert given.states(generate(0)) == ["CANCELLED", "COMPLETED"]
    assert given.states(generate(1)) == ["TIMEOUT", "COMPLETED"]
    assert given.states(generate(2)) == ["FAILED", "COMPLETED"]
    # without cgroups SLURM kills the job and calls it FAILED; its own log knows why
    assert len(given.states(generate(3))) == 2
    killed = given.executions(generate(3))[0].id
    log = (cluster.STATE / "slurmd.log").read_text()
    assert f"StepId={killed}.batch exceeded memory limit" in log
    assert given.states(generate(4)) == ["COMPLETED"]


def test_a_killed_driver_is_resumed_and_nothing_runs_twice(campaign: Make) -> None:
    """One shard is done, one runs and one has not begun when the driver is killed."""
    later = "generate:slurm_extra='--begin=now+3600' if wildcards.seed == '2' else ''"
    given = campaign(3, later)
    run = given.start("--until", "generate")
    slow = given.script(generate(1))
    slow.suspend()
    until(lambda: "Finished jobid" in given.output.read_text(), "shard 0 to be done")
    before = (given.folder / "results/Zn-S/ZnS/0/generated.parquet").stat().st_mtime_ns
    given.driver().kill()
    run.wait()
    given.resources.remove(later)
    again = given.resume(more=("--until", "generate"))
    until(lambda: "waiting for 1 SLURM job " in given.output.read_text(), "resume to wait")
    slow.resume()
    assert again.wait() == 0, given.output.read_text()
    assert "cancelled 1 SLURM job " in given.output.read_text()
    assert tables_of(given.folder, 3)[0] == before
    assert given.states(generate(0)) == ["COMPLETED"]
    assert given.states(generate(1)) == ["COMPLETED"]
    assert given.states(generate(2)) == ["CANCELLED", "COMPLETED"]


def test_a_driver_that_lost_its_jobs_is_noticed(campaign: Make) -> None:
    """SLURM's controller is away while a job ends: the executor plugin waits for ever."""
    given = campaign(1)
    run = given.resume("--watch", "0.4", "--rounds", "2", more=("--until", "generate"))
    script = given.script(generate(0))
    script.suspend()
    cluster.end("slurmctld")
    try:
        # the plugin then asks sacct, gets no answer and drops the job from its list
        until(lambda: "Falling back to 'sacct'" in given.output.read_text(), "the driver to look")
        time.sleep(10)
    finally:
        cluster.launch("slurmctld")
    until(cluster.idle, "SLURM to answer")
    script.resume()
    assert run.wait() == 0, given.output.read_text()
    said = given.output.read_text()
    assert "resume: the driver hung (no jobs and no output for 0.4 minutes)" in said
    assert "resume: starting Snakemake, round 2 of at most 2" in said
    tables_of(given.folder, 1)
    assert given.states(generate(0)) == ["COMPLETED"]
