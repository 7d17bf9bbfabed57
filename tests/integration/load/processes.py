"""The processes of a gate, as /proc shows them."""

from pathlib import Path

_ESTABLISHED = "01"


def workers_of(supervisor_pid: int) -> list[int]:
    """The worker processes of `gatekeeper serve`."""
    return [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit()
        and _parent(folder) == supervisor_pid
        and b"gatekeeper.process.worker" in _read(folder / "cmdline")
    ]


def clients_of(pid: int, *, port: int) -> int:
    """How many established connections at `port` this process has accepted."""
    sockets = {
        fields[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if (fields := line.split())[3] == _ESTABLISHED and int(fields[1].split(":")[1], 16) == port
    }
    return sum(
        f"{link}"[8:-1] in sockets for link in _links(pid) if f"{link}".startswith("socket:[")
    )


def open_files(pid: int) -> int:
    return len(_links(pid))


def memory_bytes(pid: int) -> int:
    """The private memory of this process (`Private_*` of its mappings)."""
    kilobytes = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_"):
            kilobytes += int(line.split()[1])
    return kilobytes * 1024


def _links(pid: int) -> list[Path]:
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(link.readlink())
        except FileNotFoundError:  # closed meanwhile
            continue
    return links


def _parent(folder: Path) -> int:
    stat = _read(folder / "stat")
    return int(stat.rpartition(b")")[2].split()[1]) if stat else 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
