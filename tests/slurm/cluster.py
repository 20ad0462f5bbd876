#!/usr/bin/env python3
"""A real SLURM of one node on the loopback, without systemd: start, stop, status.

Debian: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge.
Needs root. Everything it writes lies in ``STATE``, except slurm.conf and gres.conf: they
must stand in /etc/slurm, because Snakemake's jobstep drops ``SLURM_CONF``. A
configuration that is not its own is never touched.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

STATE = Path("/run/chggen-slurm")
ETC = Path("/etc/slurm")
MARK = "# written by chggen's tests/slurm/cluster.py"
MUNGE_SOCKET = Path("/run/munge/munge.socket.2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "squeue", "sbatch")
DAEMONS = ("slurmd", "slurmctld", "munged")

#: Two partitions; memory is watched every second, so that too much of it is a real kill.
CONFIGURATION = """\
{mark}
ClusterName=chggen
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={socket}
CredType=cred/munge
StateSaveLocation={state}/ctld
SlurmdSpoolDir={state}/spool
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
EnforcePartLimits=ALL
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
KillWait=2
JobRequeue=0
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:1 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=1-0 State=UP
PartitionName=gpu Nodes={host} MaxTime=1-0 State=UP
"""


def idle() -> bool:
    """True if the cluster answers and its node takes jobs."""
    if not shutil.which("sinfo"):
        return False
    command = ["sinfo", "--noheader", "--format=%T"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    states = set(answer.stdout.split())
    return answer.returncode == 0 and bool(states) and states <= {"idle", "mixed", "allocated"}


def ours() -> bool:
    """True if /etc/slurm/slurm.conf is the one written here."""
    path = ETC / "slurm.conf"
    return path.is_file() and path.read_text().startswith(MARK)


def pid(name: str) -> int | None:
    """Process id of a daemon of ours that is alive."""
    try:
        number = int((STATE / f"{name}.pid").read_text())
        running = Path(f"/proc/{number}/comm").read_text().strip()
    except (OSError, ValueError):
        return None
    return number if running == name else None


def write_configuration() -> None:
    """slurm.conf and gres.conf in /etc/slurm, key and folders in ``STATE``."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    for folder in (STATE, STATE / "ctld", STATE / "spool", ETC):
        folder.mkdir(parents=True, exist_ok=True)
    # munged refuses a socket or a key that others could replace
    STATE.chmod(0o755)
    MUNGE_SOCKET.parent.mkdir(parents=True, exist_ok=True)
    MUNGE_SOCKET.parent.chmod(0o755)
    key = STATE / "munge.key"
    if not key.exists():
        key.touch(0o400)
        key.write_bytes(os.urandom(128))
    text = CONFIGURATION.format(
        mark=MARK,
        host=socket.gethostname().split(".")[0],
        socket=MUNGE_SOCKET,
        state=STATE,
        # more than there are: jobs of the tests wait and sleep more than they compute
        cpus=max(4, os.cpu_count() or 1),
        memory=memory,
    )
    (ETC / "slurm.conf").write_text(text)
    # a pretend GPU: enough for SLURM to hand it out
    (ETC / "gres.conf").write_text(f"{MARK}\nName=gpu File=/dev/null\n")


def launch(name: str) -> None:
    """Start one daemon, unless it runs."""
    if pid(name) is not None:
        return
    command = [name]
    if name == "munged":
        # the packaged munged runs as its own user and keeps its key elsewhere
        command += [
            "--force",
            f"--key-file={STATE / 'munge.key'}",
            f"--pid-file={STATE / 'munged.pid'}",
            f"--log-file={STATE / 'munged.log'}",
            f"--seed-file={STATE / 'munged.seed'}",
            f"--socket={MUNGE_SOCKET}",
        ]
    subprocess.run(command, check=True, timeout=60)


def end(name: str, patience: float = 10) -> None:
    """End one daemon of ours by the id in its pid file."""
    number = pid(name)
    if number is None:
        return
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, sign)
        limit = time.monotonic() + patience
        while pid(name) is not None and time.monotonic() < limit:
            time.sleep(0.1)
        if pid(name) is None:
            break
    (STATE / f"{name}.pid").unlink(missing_ok=True)


def start() -> str:
    """Start what does not run yet; raises SystemExit with one line."""
    missing = [p for p in PROGRAMS if not shutil.which(p)]
    if missing:
        sys.exit(
            f"cluster: no {missing[0]}; apt-get install --no-install-recommends"
            " slurmctld slurmd slurm-client munge"
        )
    if os.geteuid() != 0:
        sys.exit("cluster: needs root")
    if (ETC / "slurm.conf").exists() and not ours():
        sys.exit(f"cluster: {ETC / 'slurm.conf'} belongs to another cluster; left alone")
    if ours() and idle():
        return "cluster: runs already"
    stop()
    write_configuration()
    for name in reversed(DAEMONS):
        launch(name)
    limit = time.monotonic() + 60
    while not idle():
        if time.monotonic() > limit:
            sys.exit(f"cluster: the node did not become idle in 60 s; see {STATE}/*.log")
        time.sleep(0.2)
    return "cluster: ready"


def stop() -> str:
    """Cancel what runs, end the daemons and remove every trace."""
    if not ours():
        return "cluster: not running"
    if shutil.which("scancel") and idle():
        subprocess.run(["scancel", "--user=root"], check=False, timeout=30)
    for name in DAEMONS:
        end(name)
    for file in (ETC / "slurm.conf", ETC / "gres.conf"):
        file.unlink(missing_ok=True)
    shutil.rmtree(STATE, ignore_errors=True)
    return "cluster: stopped"


def status() -> str:
    """One line about the cluster."""
    if not ours():
        return "cluster: not running"
    alive = [name for name in DAEMONS if pid(name) is not None]
    return f"cluster: {'ready' if idle() else 'not ready'} ({', '.join(alive) or 'no daemon'})"


if __name__ == "__main__":
    actions = {"start": start, "stop": stop, "status": status}
    if len(sys.argv) != 2 or sys.argv[1] not in actions:
        sys.exit("usage: cluster.py start|stop|status")
    print(actions[sys.argv[1]]())  # noqa: T201
