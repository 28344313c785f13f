"""A Slurm of one node on the loopback interface, in a folder: key, ports and state of its own."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
SBIN = "/usr/sbin:/usr/local/sbin:/sbin"  # daemons are not on everyone's PATH
GPUS = 2  # empty files that Slurm counts and hands out as if they were devices
PATIENCE = 60  # seconds for a daemon to answer, or to go

# No cgroups, which containers may lack, and no accounting: the executor asks squeue. A job that is put back into the
# queue waits until its credential has run out, two minutes by default.
CONF = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=300
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=64000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=loopback Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """The programs of Slurm that this machine lacks."""
    return [name for name in NEEDED if shutil.which(name, path=f"{os.environ['PATH']}:{SBIN}") is None]


class Slurm:
    """Started with the block, stopped at its end with all its jobs."""

    def __init__(self, folder: Path):
        self.folder = folder
        # The executor takes SLURM_CONF away from its srun, which finds its configuration in /etc elsewhere.
        programs = f"{folder / 'bin'}:{os.environ['PATH']}:{SBIN}"
        self.environment = {"PATH": programs, "SLURM_CONF": str(folder / "slurm.conf")}
        self.daemons: list[subprocess.Popen] = []

    def __enter__(self) -> "Slurm":
        host = socket.gethostname().split(".")[0]
        for name in ("state", "spool", "bin"):
            (self.folder / name).mkdir(parents=True)
        srun = self.folder / "bin" / "srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        text = CONF.format(
            host=host, user=getpass.getuser(), ports=_free_ports(2), folder=self.folder, cpus=os.cpu_count(), gpus=GPUS
        )
        (self.folder / "slurm.conf").write_text(text)
        devices = [self.folder / f"gpu{number}" for number in range(GPUS)]
        for device in devices:
            device.touch()
        (self.folder / "gres.conf").write_text("".join(f"Name=gpu File={device}\n" for device in devices))
        munge = {"socket": "munge.sock", "pid-file": "munge.pid", "seed-file": "munge.seed", "log-file": "munge.log"}
        options = [f"--{option}={self.folder / name}" for option, name in munge.items()]
        self._start("munged", "--foreground", "--force", f"--key-file={key}", *options)
        self._wait("munged", lambda: (self.folder / "munge.sock").exists())
        self._start("slurmctld", "-D")
        self._start("slurmd", "-D", "-N", host)
        self._wait("slurmd", lambda: "idle" in self.says("sinfo", "--noheader", "--format=%T"))
        return self

    def __exit__(self, *_: object) -> None:
        if len(self.daemons) == 3:
            subprocess.run(
                ["scancel", "--user", getpass.getuser()], env=os.environ | self.environment, timeout=PATIENCE
            )
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def says(self, *command: str) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True)
        return done.stdout

    def tell(self, *command: str) -> None:
        subprocess.run(command, env=os.environ | self.environment, check=True)

    def job(self, number: str) -> dict[str, str]:
        """What scontrol says of a job: JobState, Restarts, TimeLimit, ..."""
        words = self.says("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def _start(self, name: str, *options: str) -> None:
        output = (self.folder / f"{name}.out").open("w")
        environment = os.environ | self.environment
        self.daemons.append(subprocess.Popen([name, *options], env=environment, stdout=output, stderr=output))

    def _wait(self, name: str, ready: object) -> None:
        deadline = time.monotonic() + PATIENCE
        while not ready():
            died = [daemon.args[0] for daemon in self.daemons if daemon.poll() is not None]
            if died or time.monotonic() > deadline:
                logs = [path.read_text(errors="replace")[-3000:] for path in sorted(self.folder.glob("*.[lo][ou][gt]"))]
                self.__exit__()
                raise RuntimeError(f"{', '.join(died) or name} did not start:\n" + "\n".join(logs))
            time.sleep(0.2)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports
