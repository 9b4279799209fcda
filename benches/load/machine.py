"""What a process has cost so far, read from /proc; and what machine this is."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass
class Cpu:
    """CPU time in ns. The kernel samples how it splits: only the total is exact."""

    total: int
    user: int
    system: int

    def __sub__(self, earlier):
        return Cpu(self.total - earlier.total, self.user - earlier.user, self.system - earlier.system)


def stat(pid):
    """Fields of /proc/PID/stat behind the command's name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(root):
    """The process and its descendants."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int(stat(entry.name)[1])
        except (OSError, IndexError):
            continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu(root):
    """CPU time of a process tree."""
    used = Cpu(0, 0, 0)
    for pid in tree(root):
        fields = stat(pid)
        user, system = int(fields[11]) * TICK_NS, int(fields[12]) * TICK_NS
        used = Cpu(used.total + run_time(pid, user + system), used.user + user, used.system + system)
    return used


def run_time(pid, ticks):
    """Run time of a process's threads in ns: from the scheduler, else from ticks of 10 ms."""
    try:
        return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat")) or ticks
    except (OSError, IndexError):
        return ticks


def resident_kib(root):
    """Resident memory of a process tree."""
    total = 0
    for pid in tree(root):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total


def description():
    """The machine, for whoever reads the results later."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
    }
