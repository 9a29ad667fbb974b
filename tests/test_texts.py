"""Small texts, spoilt as editors, file systems and people spoil them: each is read, or refused in one sentence."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from maskmend.errors import InputError
from maskmend.plain_yaml import parse_yaml
from maskmend.texts import case_name, read_json, read_object, read_rows, read_text
from maskmend.words import pair

TABLE = ("case", "supervision")


def written(tmp_path: Path, content: bytes, name: str = "some.txt") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_utf_8_with_or_without_a_mark(tmp_path: Path, mark: bytes) -> None:
    assert read_text(written(tmp_path, mark + "zoé".encode())) == "zoé"


SPOILT = [
    ("case\nzoé\n".encode("cp1252"), "some.txt, line 2, is not UTF-8 (byte 0xe9); save it as UTF-8."),
    ("case".encode("utf-16"), "is UTF-16 or no text at all; save it as UTF-8."),
    ("case".encode("utf-16-be"), "is UTF-16 or no text at all"),
    (b"PK\x03\x04\x00\x00", "is UTF-16 or no text at all"),
    (b"\x00" * 512, "is UTF-16 or no text at all"),  # what a crash leaves
    (b"x" * 2**11, "is larger than 1 KiB"),
]


@pytest.mark.parametrize(("content", "said"), SPOILT)
def test_what_is_no_text(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(InputError) as refused:
        read_text(written(tmp_path, content), largest=2**10)
    assert said in str(refused.value)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (
        tmp_path,
        tmp_path / "gone",
        tmp_path / "loop",
        written(tmp_path, b"") / "below",
        tmp_path / ("x" * 999),
    ):
        with pytest.raises(InputError, match=r"cannot be read \(.+\); look\."):
            read_text(path, "look")


JSON = [
    ("", "Expecting value"),
    ('{"labels"', "Expecting ':'"),
    ('{"a": 1, "a": 2}', "names 'a' twice"),
    ('{"a": NaN}', "NaN is not finite"),
    ('{"a": -Infinity}', "-Infinity is not finite"),
    ('{"a": 1e999}', "1e999 is not finite"),
    ('{"a": %s}' % ("9" * 5000), "Exceeds the limit"),
    ("[" * 101 + "]" * 101, "more than 100 deep"),
    ("[" * 100_000, "more than 100 deep"),
    ('["\\ud800"]', "surrogates not allowed"),
]


@pytest.mark.parametrize(("text", "said"), JSON, ids=[said for _, said in JSON])
def test_spoilt_json(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text.encode())
    with pytest.raises(InputError) as refused:
        read_json(path)
    assert said in str(refused.value)
    assert str(refused.value).startswith(str(path))


def test_json(tmp_path: Path) -> None:
    assert read_json(written(tmp_path, b'["\\ud83d\\ude00", 1.5]')) == ["😀", 1.5]
    assert read_json(written(tmp_path, b"[" * 100 + b"]" * 100))
    with pytest.raises(InputError, match="does not hold a JSON object"):
        read_object(written(tmp_path, b"[1]"))


CSV = [
    (b"", "lacks the columns case and supervision"),
    (b"case;supervision\na;clean\n", "lacks the columns"),
    (b"case,supervision\n" + b"a" * 200_000 + b",clean\n", "field larger than field limit"),
    (b'case,supervision\n"a,clean\nb,noisy\n', "unexpected end of data"),
    (b"case,supervision\na\rb,clean\n", "line 2"),
]


@pytest.mark.parametrize(("content", "said"), CSV, ids=[said for _, said in CSV])
def test_spoilt_csv(tmp_path: Path, content: bytes, said: str) -> None:
    path = written(tmp_path, content)
    if said == "line 2":  # a line may end in CR alone: then there are two
        assert [row["case"] for _, row in read_rows(path, TABLE, "correct it")] == ["a", "b"]
        return
    with pytest.raises(InputError) as refused:
        read_rows(path, TABLE, "correct it")
    assert said in str(refused.value)


def test_csv_of_a_spreadsheet(tmp_path: Path) -> None:
    path = written(tmp_path, b'\xef\xbb\xbfcase , supervision,remark\r\n a,clean\r\n\r\n"b",noisy,"x, y",z\r\n')
    (place, first), (_, second) = read_rows(path, TABLE, "correct it")
    assert place == f"{path}, line 2"
    assert first == {"case": "a", "supervision": "clean", "remark": ""}
    assert second == {"case": "b", "supervision": "noisy", "remark": "x, y"}


PATHS = ("", ".", "..", "../../evil", "/etc/evil", "a/b", "a\\b", "C:\\evil", "a\0", "a\nb", "\x7f", ".x", "\udcff")


@pytest.mark.parametrize("name", [*PATHS, "x" * 201, "é" * 101, None, 1, ["a"]])
def test_no_name_of_a_case(name: object) -> None:
    with pytest.raises(InputError, match=r"^dataset\.json names the case .+, which .+; give it a plain name\.$"):
        case_name(name, "dataset.json")


def test_names_of_cases() -> None:
    for name in ("case 1", "zoé", "病例_01", "a..b", "-x", "x" * 200):
        assert case_name(name, "here") == name
    assert case_name("zoe\u0301", "here") == "zoé"  # as macOS spells it


YAML = [
    ("2020-99-99", "2020-99-99"),  # no date, and no error: a text
    ("1e-4", 1e-4),
    ("1.5e3", 1500.0),
    ("{1: x, null: y, yes: z}", {"1": "x", "null": "y", "yes": "z"}),
    ("{a: &a {b: 1}, c: *a}", {"a": {"b": 1}, "c": {"b": 1}}),
    ("{a: &a {b: 1, d: 0}, c: {b: 2, <<: *a}}", {"a": {"b": 1, "d": 0}, "c": {"b": 2, "d": 0}}),
    ("{<<: [{a: 1}, {a: 2, b: 2}]}", {"a": 1, "b": 2}),
    ("", None),
]


@pytest.mark.parametrize(("text", "value"), YAML)
def test_yaml(text: str, value: object) -> None:
    assert parse_yaml(text) == value


def test_an_alias_is_a_copy() -> None:
    tree = parse_yaml("{a: &a {b: 1}, c: *a}")
    tree["a"]["b"] = 2
    assert tree["c"] == {"b": 1}


def bomb(one: str, many: str) -> str:
    """Nine levels of nine aliases each: 387 million values."""
    return f"a: &a {one}\n" + "".join(
        f"{b}: &{b} {many % ','.join([f'*{a}'] * 9)}\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )


SPOILT_YAML = [
    ("!!int x", "'x' is no int"),
    ("!!int ''", "'' is no int"),
    ("!!bool x", "'x' is no bool"),
    ("!!float x", "'x' is no float"),
    ("!!timestamp x", "not !!timestamp"),
    ("!!binary x", "not !!binary"),
    ("!!python/object/apply:os.system [ls]", "not !!python/object/apply:os.system"),
    ("!!map x", "not !!map"),
    ("9" * 5000, "is no int"),
    ("[" * 5000, "more than 100 deep"),
    ("- " * 5000, "more than 100 deep"),
    ("&a [*a]", "more than 100 deep"),
    ("&a {<<: *a}", "more than 100 deep"),
    (bomb("[x, x]", "[%s]"), "more than 100000 values"),
    (bomb("{k: x}", "{<<: [%s]}"), "more than 100000 values"),
    ("a: 1\nb: 2\na: 3", "line 3: 'a' is there twice"),
    ("[a]: 1", "a key is a name"),
    ("{a: 1}: 1", "a key is a name"),
    ("<<: 1", "<< takes a group"),
    ("*nobody", "undefined alias"),
    ("a:\n\t- 1", "line 2"),
    ("a: 1\n---\nb: 2", "another document"),
    ("a: \x01", "not text"),
    ('"a\\0b"', "holds what no text should"),
    ('"\\ud800"', "holds what no text should"),
]


@pytest.mark.parametrize(("text", "said"), SPOILT_YAML, ids=[said for _, said in SPOILT_YAML])
def test_what_yaml_cannot_make(text: str, said: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_yaml(text)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize(
    "word", ["", "=", "=1", "a", "a=", "a..b=1", "a.=1", ".a=1", ".=1", "a=[", "a=!!int x", "a." * 200 + "b=1"]
)
def test_what_is_no_word(word: str) -> None:
    with pytest.raises(InputError, match=r"^cannot read '.*write key=value, as in train\.epochs=50\.$"):
        pair(word)


def test_words() -> None:
    assert pair("a.b=[1, 2]") == ("a.b", [1, 2])
    assert pair("a==") == ("a", "=")
    assert pair("größe=ü") == ("größe", "ü")
    assert math.isinf(pair("a=.inf")[1])


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "plan.json")
    with pytest.raises(InputError, match=r"plan\.json is a pipe"):
        read_json(tmp_path / "plan.json")
