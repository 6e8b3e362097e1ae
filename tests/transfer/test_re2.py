"""Regular expressions of Go as Python's: what each matches, by the rules of https://pkg.go.dev/regexp/syntax."""

from __future__ import annotations

import re

import pytest

from entrepot.transfer.re2 import python_pattern


@pytest.mark.parametrize(
    ("expression", "matching", "other"),
    [
        ("^a.c$", ["abc", "a.c"], ["a\nc", "abc\n", "xabc"]),
        ("(?s)^a.c$", ["abc", "a\nc"], ["ac"]),
        ("(?m)^b$", ["b", "a\nb\nc", "a\nb"], ["ab", "a b"]),
        ("(?m:^b)$", ["b", "a\nb"], ["b\nc"]),
        (r"\Aa\z", ["a"], ["a\n", "ba"]),
        (r"^\d\s\w$", ["1 a", "1\f_"], ["١ a", "1\va", "1 é"]),
        (r"^\D\S\W$", ["aa-", "١aé"], ["1a-", "a -", "aaa"]),
        (r"\bb\b", ["a b", "éb"], ["ab", "b_"]),
        (r"a\Bb", ["ab"], ["a b"]),
        ("^[^a]$", ["b", "\n", "/"], ["a", ""]),
        ("^[]a]+$", ["]a]"], ["[", "b"]),
        ("^[^]a]$", ["[", "b"], ["]", "a"]),
        ("^[a-]$", ["a", "-"], ["b"]),
        (r"^[\d-z]$", ["5", "-", "z"], ["a"]),
        (r"^[\W]$", ["-", "é"], ["a"]),
        (r"^[\]\\^]$", ["]", "\\", "^"], ["a"]),
        ("^[[:alpha:]_]$", ["a", "Z", "_"], ["1", "é", ":"]),
        ("^[[:^alpha:]]$", ["1", "é"], ["a"]),
        ("^[[a]$", ["[", "a"], ["]"]),
        ("^[[:a]$", ["[", ":", "a"], ["]"]),
        ("^[&&~~||+--]$", ["&", "~", "|", "+", ",", "-"], ["c", "."]),
        ("^(?i)aé$", ["AÉ", "aé"], ["a"]),
        ("^(?i:a)b$", ["Ab", "ab"], ["aB"]),
        ("^(a(?i)b)c$", ["aBc", "abc"], ["Abc", "abC"]),
        ("^((?i)a|b)c$", ["Ac", "Bc"], ["aC"]),
        ("^(?i)a(?-i)b$", ["Ab"], ["AB"]),
        ("^(?i)[^a]$", ["b"], ["a", "A"]),
        ("^a(?i)*b$", ["aab", "b", "aaB"], ["Ab"]),
        ("^(?P<name>a)(?<other>b)(?:c)$", ["abc"], ["ab"]),
        ("^a{2}b{1,}c{,2}d{0,1}$", ["aabc{,2}", "aabbc{,2}d"], ["abc{,2}", "aabcc"]),
        ("^a{02}$", ["a{02}"], ["aa"]),
        ("^x{a}$", ["x{a}"], ["xa"]),
        ("^a+?b*?c??$", ["aabb", "ac"], ["b"]),
        ("^(?U)a+$", ["aa"], ["b"]),
        ("^(|a)(b|)$", ["", "a", "b", "ab"], ["ba"]),
        ("^^*a$*$", ["a"], ["b"]),
        (r"^\x41\x{e9}\101\0\n\t\a$", ["AéA\0\n\t\a"], ["A"]),
        (r"^\Qa*(\E*$", ["a*(", "a*", "a*(("], ["aa("]),
        (r"^\Qa.", ["a."], ["ab"]),
        (r"^\_\-\.\/\@$", ["_-./@"], []),
        ("^#a b&~$", ["#a b&~"], ["#ab&~"]),
    ],
)
def test_an_expression_matches_what_go_matches(expression: str, matching: list[str], other: list[str]) -> None:
    pattern = re.compile(python_pattern(expression))
    assert [text for text in (*matching, *other) if pattern.search(text)] == matching


@pytest.mark.parametrize(
    "expression",
    [
        *("(", ")", "a)", "(?", "(?a)", "(?i-)", "(?P<>a)", "(?P<a", "(?=a)", "(?!a)", "(?<=a)", "(?>a)", "(?P=a)"),
        *("(?#a)", "*", "(*)", "a|*", "a**", "a*+", "a+{2}", "a{2}{3}", "a{2,1}", "a{1001}", "a{1,1001}", "a???"),
        *("[", "[a", "[]", "[^]", "[b-a]", "[[:no:]]", "[[::]]", "[a-\\d]", "[\\q]", "[\\"),
        *("\\", "\\q", "\\1", "\\8", "\\C", "\\Z", "\\G", "\\x", "\\x4", "\\x{}", "\\x{110000}", "\\é", "\\pL"),
        *("\\P{Greek}", "[\\pL]"),
    ],
)  # fmt: skip
def test_what_go_refuses_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        python_pattern(expression)
