"""What dataset.json says of channels and labels: understood, or refused in one sentence that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskmend.data.layout import Labels, by_case, parse_channels, parse_labels
from maskmend.errors import InputError

HERE = Path("dataset.json")

LABELS = [
    (None, "lacks labels"),
    ([], "lacks labels"),
    ({"background": 0, "a": 1.0}, "the value 1.0"),
    ({"background": 0, "a": None}, "the value None"),
    ({"background": 0, "a": [[1]]}, "the value [[1]]"),
    ({"background": 0, "a": []}, "the value []"),
    ({"background": 0, "a": [1, True]}, "the value [1, True]"),
    ({"background": 0, "a": [1, 1]}, "a value twice, [1, 1]"),
    ({"background": 0, "a": [1, 2, 4]}, "the label values [0, 1, 2, 4]"),
    ({"a": [1, 2]}, "the label values [1, 2]"),
    ({"background": 0, "a": [1, -1]}, "the label values [-1, 0, 1]"),
    ({"background": [0, 1], "a": 2}, "the region background holds 0, the background"),
    ({"background": 0, "a": [2, 0, 1]}, "the region a holds 0, the background"),
    ({"background": 0, "a": [1, 2, 3], "ignore": 3}, "the region a holds 3, the ignore label"),
    ({"background": 0, "a": [1, 2], "ignore": [3, 4]}, "gives ignore the value (3, 4)"),
    ({"background": 0, "a": [1, 2], "b": 2, "c": 2}, "the label values [0, 1, 2, 2]"),
    ({"background": 0, "a": [1, 2], "a 1": 2}, "the label values [0, 1]"),
    ({"background": 0, "a": [1, 2]}, "has 1 region and the regions_class_order None"),
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
        parse_labels({"labels": labels}, HERE)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 300


def test_labels() -> None:
    right = Labels({"background": 0, "a": 1, "b": 2}, 3)
    for labels in (
        {"b": 2, "background": 0, "a": [1], "ignore": 3},
        {"2": "b", "0": "background", "1": "a", "3": "ignore"},
    ):
        found = parse_labels({"labels": labels}, HERE)
        assert found == right
        assert [*found.values] == [*right.values]


BRAIN = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}


def test_regions_unite_classes_that_are_named_by_them() -> None:
    found = parse_labels({"labels": BRAIN, "regions_class_order": [1, 2, 3]}, HERE)
    assert found.values == {"background": 0, "whole 1": 1, "core 2": 2, "enhancing": 3}
    assert found.ignore == 4
    assert [*found.regions.items()] == [("whole", (1, 2, 3)), ("core", (2, 3)), ("enhancing", 3)]
    apart = {"background": 0, "b": [3], "a": [2, 1]}
    found = parse_labels({"labels": apart, "regions_class_order": [3, 1]}, HERE)
    assert found == Labels({"background": 0, "a 1": 1, "a 2": 2, "b": 3}, None, {"b": (3,), "a": (2, 1)})


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ([1, 2], "3 regions and the regions_class_order [1, 2]; give the value .* order whole, core, enhancing"),
        ({"1": 1}, "regions_class_order {'1': 1}"),
        ([1, 1, 3], "draws the region core as 1; take one of its values [2, 3]"),
        ([1, 2, "3"], "draws the region enhancing as '3'"),
        ([True, 2, 3], "draws the region whole as True"),
    ],
)
def test_regions_in_no_order(order: object, said: str) -> None:
    with pytest.raises(InputError, match=r"^dataset\.json") as refused:
        parse_labels({"labels": BRAIN, "regions_class_order": order}, HERE)
    assert all(part in str(refused.value) for part in said.split(" .* "))


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
