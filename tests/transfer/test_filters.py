"""Filters as values: what they promise beside the rules, which are checked beside rclone."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entrepot.errors import ConfigurationError
from entrepot.transfer.bounds import Bounds, Moment, parse_moment, parse_size
from entrepot.transfer.filters import NO_FILTERS, Filters, Option, ignore_lines_of, read_filter_file
from rclone_rules import PATHS, sensible_globs

NOW = datetime(2025, 6, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def chosen(filters: Filters, *paths: str) -> list[str]:
    return [path for path in paths if filters.admits(path, size_bytes=1, modified=NOW)]


def rules_of(*texts: str) -> Filters:
    return Filters.parse(("filter", text) for text in texts)


# ---- rules ----------------------------------------------------------------------------------------------


def test_the_order_across_options_decides() -> None:
    first = Filters.parse([("exclude", "a.csv"), ("include", "*.csv")])
    last = Filters.parse([("include", "*.csv"), ("exclude", "a.csv")])
    assert chosen(first, "a.csv", "b.csv", "b.txt") == ["b.csv"]
    assert chosen(last, "a.csv", "b.csv", "b.txt") == ["a.csv", "b.csv"]


def test_an_include_leaves_out_the_rest_wherever_it_stands_and_a_plus_does_not() -> None:
    options: list[tuple[Option, str]] = [("include", "a"), ("filter", "+ b"), ("exclude", "c")]
    assert chosen(Filters.parse(options), "a", "b", "c", "d") == ["a", "b"]
    assert chosen(rules_of("+ a"), "a", "d") == ["a", "d"]
    # Forgetting the rule does not take back that something was to be included.
    assert chosen(Filters.parse([("include", "a"), ("filter", "!")]), "a", "d") == []


def test_a_directory_is_passed_by_where_no_rule_can_choose_from_it() -> None:
    filters = Filters.parse([("include", "/runs/*/model.bin")])
    assert [path for path in ("", "runs", "runs/7", "runs/7/x", "logs") if filters.admits_directory(path)] == [
        "", "runs", "runs/7"
    ]  # fmt: skip
    assert not rules_of("- tmp/").admits_directory("a/tmp/b/c")
    assert rules_of("- tmp").admits_directory("a/tmp")
    # What is left out of a directory says nothing of it, unless that is everything.
    assert rules_of("- a*").admits_directory("ab")
    assert not rules_of("- *").admits_directory("ab")


@given(st.lists(st.tuples(st.sampled_from(["include", "exclude"]), sensible_globs), max_size=4))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
def test_every_directory_above_an_admitted_file_is_looked_into(options: list[tuple[Option, str]]) -> None:
    filters = Filters.parse(options)
    for path in chosen(filters, *PATHS):
        above = path.split("/")[:-1]
        assert all(filters.admits_directory("/".join(above[:depth])) for depth in range(len(above) + 1))


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("a", "is no rule"), ("+a", "is no rule"), ("", "is no rule"), ("+ a]", "has no `[`"), ("+ [a", "not closed"),
        ("- {a", "is not closed"), ("- a}", "has no `{`"), ("+ ***", "more than two stars"), ("+ {{a", "is not closed"),
        (r"+ {{\pL}}", "not supported"), ("+ {{(?=a)}}", "opens no group"), ("+ [b-a]", "goes from 'b' down to 'a'"),
        (r"+ {{a\q}}", "means nothing"), ("+ {{a**}}", "repetition"), ("+ [[:nothing:]]", "no class"),
    ],
)  # fmt: skip
def test_a_rule_without_meaning_is_refused_and_told_why(rule: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        rules_of(rule)
    assert why in raised.value.message
    assert repr(rule.removeprefix("+ ").removeprefix("- ")) in raised.value.message


def test_a_line_break_in_a_name_is_as_any_other_character() -> None:
    assert chosen(rules_of("- /a/**"), "a/x\ny", "b/x\ny") == ["b/x\ny"]


# ---- lists, bounds --------------------------------------------------------------------------------------


def test_a_list_admits_its_files_and_looks_above_them_only() -> None:
    filters = Filters.parse(files_from=["/a/b/c", "d"])
    assert chosen(filters, "a/b/c", "d", "a/b/d", "a") == ["a/b/c", "d"]
    assert [path for path in ("", "a", "a/b", "a/c", "d") if filters.admits_directory(path)] == ["", "a", "a/b"]
    assert chosen(Filters.parse(files_from=[]), "a") == []


@pytest.mark.parametrize(
    "other",
    [{"options": [("include", "a")]}, {"bounds": Bounds(min_size_bytes=1)}, {"ignore": ["a"]}],
    ids=["rules", "bounds", "ignore"],
)
def test_a_list_goes_with_nothing_else(other: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="a choice by itself"):
        Filters.parse(files_from=["a"], **other)  # type: ignore[arg-type]


def test_bounds_include_their_ends() -> None:
    size = Filters.parse(bounds=Bounds(min_size_bytes=2, max_size_bytes=4))
    assert [n for n in range(6) if size.admits("a", size_bytes=n, modified=None)] == [2, 3, 4]
    moments = (NOW - 2 * DAY, NOW - DAY)
    time = Filters.parse(bounds=Bounds(newer=Moment("2d", moments[0]), older=Moment("1d", moments[1])))
    tick = timedelta(microseconds=1)
    asked = [moments[0] - tick, moments[0], moments[1], moments[1] + tick, None]
    assert [time.admits("a", size_bytes=0, modified=one) for one in asked] == [False, True, True, False, False]


def test_bounds_with_nothing_between_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="smallest size"):
        Bounds(min_size_bytes=2, max_size_bytes=1)
    with pytest.raises(ConfigurationError, match="nothing is newer"):
        Bounds(newer=parse_moment("1d", NOW), older=parse_moment("7d", NOW))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10M", 10 << 20), ("1.5k", 1536), ("1Ki", 1024), ("1kib", 1024), ("100B", 100), ("100b", 100), ("0", 0),
        ("2G", 2 << 30), ("1T", 1 << 40), ("1p", 1 << 50), ("1E", 1 << 60), (".5K", 512), ("off", None), ("1.9B", 1),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "100", "10MB", "-1K", "1KiBB", "K", "1 K", "1x", "8E", "1_0K", "٣K", "nan", "1K\n"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is no size|has no unit|larger than any"):
        parse_size(text)


def test_a_size_without_a_unit_is_answered_with_both_that_could_be_meant() -> None:
    with pytest.raises(ConfigurationError, match="100B for bytes or 100K for KiB"):
        parse_size("100")


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("7d", 7 * DAY), ("2h30m", timedelta(hours=2.5)), ("1d12h", 1.5 * DAY), ("90", timedelta(seconds=90)),
        ("1w", 7 * DAY), ("1M", 30 * DAY), ("1y", 365 * DAY), ("1.5d", 1.5 * DAY), ("1m", DAY / 1440),
        ("250ms", timedelta(milliseconds=250)), ("2025-06-14T12:00:00Z", DAY), ("2025-06-14T14:00:00+02:00", DAY),
        ("2025-06-14 12:00:00+00:00", DAY),
    ],
)  # fmt: skip
def test_moments(text: str, ago: timedelta) -> None:
    assert parse_moment(text, NOW).at == NOW - ago


def test_a_date_without_a_zone_is_of_this_machine() -> None:
    assert parse_moment("2025-06-14", NOW).at == datetime(2025, 6, 14).astimezone()


@pytest.mark.parametrize("text", ["", "d7", "-1d", "1d 2h", "7D", "yesterday", "2025-13-01", "9999999y", "7d\n"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is no time|longer ago"):
        parse_moment(text, NOW)


# ---- as a value -----------------------------------------------------------------------------------------

KINDS = {
    "none": NO_FILTERS,
    "rules": Filters.parse([("include", "*.csv"), ("exclude", "tmp/"), ("filter", "+ {{a+}}")]),
    "bounds": Filters.parse(bounds=Bounds(1, 9, parse_moment("7d", NOW), parse_moment("2025-06-14T00:00:00Z", NOW))),
    "list": Filters.parse(files_from=["b", "a/c"]),
    "empty list": Filters.parse(files_from=[]),
    "ignore": Filters.parse(ignore=["*.log", "!kept.log"]),
    "all but a list": Filters.parse([("exclude", "x")], bounds=Bounds(min_size_bytes=0), ignore=["y/"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_filters_pickle_and_choose_the_same(kind: str) -> None:
    filters = KINDS[kind]
    paths = ("a.csv", "tmp/a.csv", "b", "a/c", "x.log", "kept.log", "y/z", "x", "aaa")
    before = chosen(filters, *paths)
    copied: Filters = pickle.loads(pickle.dumps(filters))
    assert copied == filters
    assert hash(copied) == hash(filters)
    assert copied.fingerprint() == filters.fingerprint()
    assert chosen(copied, *paths) == before


def test_different_filters_have_different_fingerprints_from_run_to_run_the_same() -> None:
    assert len({filters.fingerprint() for filters in KINDS.values()}) == len(KINDS)
    today = Filters.parse(bounds=Bounds(newer=parse_moment("7d", NOW)))
    tomorrow = Filters.parse(bounds=Bounds(newer=parse_moment("168h", NOW + DAY)))
    assert today == tomorrow
    assert today.fingerprint() == tomorrow.fingerprint()
    assert (
        Filters.parse(files_from=["a", "b"]).fingerprint() == Filters.parse(files_from=["/b", "a", "a"]).fingerprint()
    )
    assert rules_of("- a", "!", "- b").fingerprint() == rules_of("- b", "- b").fingerprint()
    assert rules_of("- a", "- b").fingerprint() != rules_of("- b", "- a").fingerprint()


def test_only_no_filter_at_all_admits_all() -> None:
    assert [kind for kind, filters in KINDS.items() if filters.admits_all] == ["none"]
    assert Filters.parse(ignore=["", "# nothing"]).admits_all


# ---- files of filters -----------------------------------------------------------------------------------


def test_names_that_are_no_utf8_are_read_as_paths_spell_them(tmp_path: Path) -> None:
    listed = tmp_path / "listed"
    listed.write_bytes(b"caf\xe9\ncaf\xc3\xa9\n")
    assert read_filter_file(listed) == ["caf\udce9", "café"]


def test_lines_of_gitignore_keep_their_space() -> None:
    assert ignore_lines_of(b"\xef\xbb\xbfa \r\n\\ b\n# c\n") == ["a ", "\\ b", "# c", ""]
