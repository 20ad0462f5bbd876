"""``chggen resume``: whose jobs it touches, and what it does with a driver that hangs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chggen.cli import app
from chggen.errors import DriverError
from chggen.run import processes
from chggen.run import slurm_queue as queue
from chggen.run.resume import Start, clear, resume

RUN, OTHER = "5dfaa431-db2d-40b4-bea4-2a1f03c08fdb", "d50651eb-0000-4000-8000-000000000000"

#: Answers from the file ``queue``; what scancel is given goes into ``cancelled`` and out of it.
SQUEUE = """#!/bin/sh
echo "$@" >> {folder}/asked
cat {folder}/queue
"""
SCANCEL = """#!/bin/sh
for job in "$@"; do
  echo "$job" >> {folder}/cancelled
  sed -i "/^$job|/d" {folder}/queue
done
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a pretend squeue and scancel, the only ones on PATH."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL)):
        (folder / name).write_text(text.format(folder=folder))
        (folder / name).chmod(0o755)
    (folder / "queue").touch()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return folder


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """Directory in which one run of Snakemake has been."""
    folder = tmp_path / "campaign"
    log = folder / ".snakemake" / "log" / "2026-01-01T000000.000000.snakemake.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"Building DAG of jobs...\nSLURM run ID: {RUN}\nUsing shell: bash\n")
    return folder


def cancelled(slurm: Path) -> set[str]:
    path = slurm / "cancelled"
    return set(path.read_text().split()) if path.exists() else set()


def test_only_jobs_of_this_directory_and_its_runs_are_ours(campaign: Path, slurm: Path) -> None:
    (slurm / "queue").write_text(
        f"1|RUNNING|{RUN}|{campaign}\n"
        f"2|PENDING|{RUN}|{campaign}/../campaign\n"
        f"3_4|COMPLETING|{RUN}|{campaign}\n"
        # a run of another directory, a copy of ours elsewhere, a job by hand, no sense
        f"5|RUNNING|{OTHER}|{campaign}\n"
        f"6|RUNNING|{RUN}|{campaign}/elsewhere\n"
        f"7|RUNNING|vasp|{campaign}\n"
        "slurm_load_jobs error: something\n"
    )
    assert [job.id for job in queue.queued(campaign)] == ["1", "2", "3_4"]
    assert f"--user={os.getuid()}" in (slurm / "asked").read_text()
    said: list[str] = []
    (slurm / "queue").write_text(
        (slurm / "queue").read_text().replace(f"3_4|COMPLETING|{RUN}|{campaign}\n", "")
    )
    clear(Start(campaign, interval=0.01), said.append, wait=False)
    assert cancelled(slurm) == {"1", "2"}
    assert said[0] == "cancelled 2 SLURM jobs of a killed driver"


def test_waiting_cancels_only_what_has_not_begun(campaign: Path, slurm: Path) -> None:
    (slurm / "queue").write_text(f"1|RUNNING|{RUN}|{campaign}\n2|PENDING|{RUN}|{campaign}\n")
    finish = subprocess.Popen(["sh", "-c", f"sleep 0.5; : > {slurm / 'queue'}"])
    said: list[str] = []
    clear(Start(campaign, interval=0.05), said.append, wait=True)
    assert finish.wait() == 0
    assert cancelled(slurm) == {"2"}
    assert said[1].startswith("waiting for 1 SLURM job ")


def test_a_campaign_that_never_saw_slurm_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert queue.queued(tmp_path) == []


def test_a_silent_slurm_is_an_error_not_an_empty_queue(campaign: Path, slurm: Path) -> None:
    (slurm / "squeue").write_text(
        "#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1"
    )
    with pytest.raises(DriverError, match="squeue: Unable to contact slurm controller"):
        queue.queued(campaign)
    (slurm / "squeue").unlink()
    if not Path("/usr/bin/squeue").exists():
        with pytest.raises(DriverError, match="squeue is not available here"):
            queue.queued(campaign)


@pytest.mark.parametrize(
    ("command", "driver", "job"),
    [
        (["/v/bin/python", "-m", "snakemake", "--profile", "slurm"], True, False),
        (["/v/bin/python3.12", "/v/bin/snakemake", "--cores", "2"], True, False),
        (["snakemake"], True, False),
        (["/v/bin/python", "-m", "snakemake", "--mode", "remote"], False, True),
        (["/v/bin/python", "/w/.snakemake/scripts/tmpx.relax.py"], False, True),
        (["/bin/bash", "-c", "set -e; python /w/.snakemake/scripts/tmpx.relax.py"], False, True),
        (["vim", "snakemake"], False, False),
        (["/v/bin/python", "-m", "chggen.cli", "resume"], False, False),
        (["timeout", "600", "snakemake"], False, False),
        ([], False, False),
    ],
)
def test_which_process_is_what(command: list[str], *, driver: bool, job: bool) -> None:
    assert processes.is_driver(command) is driver
    assert processes.is_job(command) is job


@pytest.fixture
def driver(campaign: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like a driver of the campaign."""
    fake = campaign / "snakemake"
    fake.write_text("import time\ntime.sleep(60)\n")
    with subprocess.Popen([sys.executable, str(fake)], cwd=campaign) as process:
        yield process
        process.kill()


def test_a_live_driver_is_left_alone(
    campaign: Path, slurm: Path, driver: subprocess.Popen[bytes]
) -> None:
    (slurm / "queue").write_text(f"1|RUNNING|{RUN}|{campaign}\n")
    while not processes.drivers(campaign):
        time.sleep(0.01)
    result = CliRunner().invoke(app, ["resume", "--directory", str(campaign)])
    assert isinstance(result.exception, DriverError)
    assert f"pid {driver.pid}" in str(result.exception)
    assert not cancelled(slurm)
    assert driver.poll() is None


def test_local_orphans_are_ended_with_what_they_started(campaign: Path, tmp_path: Path) -> None:
    (campaign / ".snakemake" / "log").rename(tmp_path / "log")
    scripts = campaign / ".snakemake" / "scripts"
    scripts.mkdir()
    script = scripts / "tmpx.relax.py"
    script.write_text("import subprocess\nsubprocess.run(['sleep', '60'])\n")
    with (
        subprocess.Popen([sys.executable, str(script)], cwd=campaign) as ours,
        subprocess.Popen([sys.executable, str(script)], cwd=tmp_path) as foreign,
    ):
        try:
            while len(processes.jobs(campaign)) != 1 or not processes.jobs(campaign)[0].children():
                time.sleep(0.01)
            started = processes.jobs(campaign)[0].children()
            said: list[str] = []
            clear(Start(campaign), said.append, wait=True)
            assert said == ["ended 1 local process of a killed driver"]
            assert not started[0].is_running()
            ours.wait(timeout=5)
            assert foreign.poll() is None
        finally:
            for process in processes.jobs(tmp_path):
                processes.end([process])


class Pretend(Start):
    """Starts a small program in place of Snakemake."""

    def command(self, *more: str) -> list[str]:
        program = "pass" if "--unlock" in more else self.arguments[0]
        return [sys.executable, "-c", program]


def test_the_exit_code_of_the_driver_is_that_of_resume(tmp_path: Path) -> None:
    said: list[str] = []
    assert resume(Pretend(tmp_path, ("raise SystemExit(3)",)), said.append) == 3
    assert said == ["starting Snakemake"]


def test_a_driver_that_hangs_is_ended_and_started_again(tmp_path: Path) -> None:
    program = (
        "import pathlib, time\n"
        f"mark = pathlib.Path({str(tmp_path / 'mark')!r})\n"
        "if not mark.exists():\n    mark.touch()\n    time.sleep(60)\n"
    )
    said: list[str] = []
    start = Pretend(tmp_path, (program,), interval=0.05)
    assert resume(start, said.append, watch=0.01) == 0
    assert said[0] == "starting Snakemake, round 1 of at most 5"
    assert said[1].startswith(
        "the driver hung (no jobs and no output for 0.01 minutes) and was stopped"
    )
    assert len(said) == 3


def test_a_driver_with_jobs_or_words_does_not_hang(campaign: Path, slurm: Path) -> None:
    log = next((campaign / ".snakemake" / "log").iterdir())
    program = (
        "import pathlib, time\n"
        f"queue = pathlib.Path({str(slurm / 'queue')!r})\n"
        f"queue.write_text('1|RUNNING|{RUN}|{campaign}\\n')\n"
        "time.sleep(1.5)\nqueue.write_text('')\n"
        f"log = pathlib.Path({str(log)!r})\n"
        "for _ in range(5):\n"
        "    time.sleep(0.3)\n    log.write_text(log.read_text() + 'Finished\\n')\n"
    )
    said: list[str] = []
    start = Pretend(campaign, (program,), interval=0.05)
    assert resume(start, said.append, watch=0.015) == 0
    assert said == ["starting Snakemake, round 1 of at most 5"]


def test_a_dry_run_touches_nothing(campaign: Path, slurm: Path) -> None:
    (slurm / "queue").write_text(f"1|PENDING|{RUN}|{campaign}\n")
    with pytest.raises(DriverError, match="'--dry-run' cannot be resumed"):
        resume(Pretend(campaign, ("pass", "--dry-run")), print)
    assert not cancelled(slurm)


def test_rounds_are_limited(tmp_path: Path) -> None:
    program = f"import os\nos.kill(os.getpid(), {int(signal.SIGKILL)})"
    said: list[str] = []
    with pytest.raises(DriverError, match="gave up after 2 restarts"):
        resume(Pretend(tmp_path, (program,), 0.05), said.append, watch=1, rounds=2)
    assert "the driver was killed by signal 9; finished results are kept" in said
