"""What a process has for itself."""

from __future__ import annotations

from pathlib import Path

SMAPS = Path("/proc/self/smaps_rollup")


def private_bytes() -> int:
    """Return the bytes of this process that no other process maps."""
    lines = SMAPS.read_text(encoding="ascii").splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
