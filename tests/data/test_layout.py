"""What dataset.json says of channels and labels: understood, or refused in one sentence that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskmend.data.layout import by_case, parse_channels, parse_labels
from maskmend.errors import InputError

HERE = Path("dataset.json")

LABELS = [
    (None, "lacks labels"),
    ([], "lacks labels"),
    ({"background": 0, "a": 1.0}, "the value 1.0"),
    ({"background": 0, "a": None}, "the value None"),
    ({"background": 0, "a": [1, 2]}, "a region [1, 2]"),
    ({"background": 0, "a": [[1]]}, "the value [1]"),
    ({"background": 0, "a": 1, "b": 1}, "[0, 1, 1]"),
    ({"background": 0, "a": 2}, "[0, 2]"),
    ({"background": 0, "a": -1}, "[-1, 0]"),
    ({"background": 0, "a": 10**4000}, "declares the label values [0, 1000"),
    ({"background": "0", "a": "1"}, "a name for a value"),
    ({"0": "background", "²": "a"}, "a name for a value"),
    ({"0": "background", "9" * 5000: "a"}, "a name for a value"),
    ({"0": "background", "1": "a", "2": "a"}, "two labels one name"),
    ({"background": 0, "a": 1, "ignore": 255}, "gives ignore the value 255"),
]


@pytest.mark.parametrize(("labels", "said"), LABELS, ids=[said for _, said in LABELS])
def test_no_labels(labels: object, said: str) -> None:
    with pytest.raises(InputError, match=r"^dataset\.json") as refused:
        parse_labels(labels, HERE)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 300


def test_labels() -> None:
    right = ({"background": 0, "a": 1, "b": 2}, 3)
    assert parse_labels({"b": 2, "background": 0, "a": [1], "ignore": 3}, HERE) == right
    assert parse_labels({"2": "b", "00": "background", "1": "a", "3": "ignore"}, HERE) == right


@pytest.mark.parametrize(
    "names", [None, [], {}, {"a": "T1"}, {"0": "T1", "00": "T2"}, {"0": 1}, {"0": ""}, {"²": "T1"}]
)
def test_no_channels(names: object) -> None:
    with pytest.raises(InputError, match=r"^dataset\.json"):
        parse_channels(names, HERE)


def test_channels_in_order_of_their_numbers() -> None:
    names = {str(number): f"c{number}" for number in (10, 2, 0, 1, *range(3, 10))}
    assert parse_channels(names, HERE) == tuple(f"c{number}" for number in range(11))


def test_two_spellings_of_one_case() -> None:
    assert by_case([("zoe\u0301", 1)], HERE) == {"zoé": 1}
    with pytest.raises(InputError, match="names the case zoé twice"):
        by_case([("zoé", 1), ("zoe\u0301", 2)], HERE)
