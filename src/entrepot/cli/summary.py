"""What one command's copies did, together: an object for machines, a line for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from entrepot.cli.render import counted, human_size
from entrepot.transfer.report import CopyReport

_OBVIOUS = {"size", "rename"}

_NAMED = 3
"""How many files a line names; `--json` names a hundred."""


def combined(reports: Sequence[CopyReport]) -> dict[str, Any]:
    """The JSON fields of several reports as of one: numbers added, lists joined."""
    total: dict[str, Any] = CopyReport().to_json()
    for report in reports:
        for name, value in report.to_json().items():
            if isinstance(value, bool):
                total[name] = total[name] and value if name == "ok" else total[name] or value
            elif isinstance(value, dict):
                for key, number in value.items():
                    total[name][key] = total[name].get(key, 0) + number
            else:
                total[name] += value
    return total


def summary_line(total: dict[str, Any], verb: str, done: str) -> str:
    """`copied 5,008 files, 531.5 MiB in 3.2 s (166.1 MiB/s), verified: 5,008 md5`, and what there is to know else.

    verb, done: `copy` and `copied`, or `move` and `moved`.
    """
    seconds = total["seconds"]
    if total["dry_run"]:
        text = f"would {verb} {_things(total)}"
    else:
        rate = f" ({human_size(total['bytes'] / seconds)}/s)" if seconds >= 0.1 and total["bytes"] else ""
        text = f"{done} {_things(total)} in {_duration(seconds)}{rate}"
        if verified := _verified(total):
            text += f", {verified}"
    parts = [
        f"{len(total['failed']):,} failed" if total["failed"] else "",
        f"{total['skipped']:,} skipped (already there)" if total["skipped"] else "",
        f"{total['deleted']:,} {'to delete' if total['dry_run'] else 'deleted'}" if total["deleted"] else "",
        f"{total['not_deleted']:,} not deleted, because something failed" if total["not_deleted"] else "",
        _left_out(total["excluded"], "file", "left out by filters"),
        _left_out(total["links_skipped"], "symbolic link", "skipped (see --links)"),
        _left_out(total["special_skipped"], "special file", "skipped"),
        _left_out(total["empty_directories_skipped"], "empty directory", "not kept by the target", "empty directories"),
    ]
    return "; ".join([text, *(part for part in parts if part)])


def unverified_lines(total: dict[str, Any]) -> list[str]:
    """For each reason for which files were not verified, their number, the first ones, and the reason."""
    lines = []
    for why, number in sorted(total["unverified_reasons"].items(), key=lambda one: -one[1]):
        named = [one["uri"] for one in total["unverified"] if one["why"] == why][:_NAMED]
        rest = ", …" if number > len(named) else ""
        lines.append(f"not verified: {counted(number, 'file')} ({', '.join(named)}{rest}): {why}")
    return lines


def _things(total: dict[str, Any]) -> str:
    files, directories = counted(total["files"], "file"), total["directories"]
    if links := total["links"]:
        files += f" and {counted(links, 'symbolic link')}"
    elif directories and not total["files"]:
        return counted(directories, "directory", "directories")
    empty = f" and {counted(directories, 'empty directory', 'empty directories')}" if directories else ""
    return f"{files}{empty}, {human_size(total['bytes'])}"


def _left_out(number: int, noun: str, fate: str, plural: str | None = None) -> str:
    return f"{counted(number, noun, plural)} {fate}" if number else ""


def _verified(total: dict[str, Any]) -> str:
    """Only what adds to the obvious: copies within one disk have their sizes compared and nothing else."""
    ways: dict[str, int] = total["verified"]
    parts = [f"{number:,} by {way}" for way, number in sorted(ways.items())] if set(ways) - _OBVIOUS else []
    if total["unverified_files"]:
        parts.append(f"{total['unverified_files']:,} by size alone")
    return f"verified {', '.join(parts)}" if parts else ""


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
