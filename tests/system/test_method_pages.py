"""Each method has a page, and what the page names exists: settings, presets, files."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from maskmend.config import load_config
from maskmend.methods import find, names

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "methods").glob("*.md"))
FIVE = {"alc", "self_cleansing", "gsd_net", "mlb_seg", "sp_guided"}


def spans(page: Path) -> list[str]:
    """What stands in backquotes, code blocks aside."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL))


def test_the_five_have_a_page() -> None:
    assert {page.stem for page in PAGES} >= FIVE
    assert {page.stem for page in PAGES} <= set(names())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_words_are_understood(page: Path) -> None:
    """`method.refine=pixel method.transfer=none`, each list of words by itself, on top of the method's defaults."""
    checked = 0
    for span in spans(page):
        if re.match(r"(method|data|network|train|optim|augment)\.[a-z_.]+=", span):
            load_config(method=page.stem, overrides=shlex.split(span))
            checked += 1
    assert checked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_setting_is_named(page: Path) -> None:
    _, config = find(page.stem)
    text = " ".join(spans(page))
    missing = [name for name in config.model_fields if not re.search(rf"\b{name}\b", text)]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_presets_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target
    for preset in re.findall(r"configs/[\w/]+\.yaml", page.read_text()):
        assert (ROOT / preset).exists(), preset


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_page_ends_with_when_the_method_does_harm(page: Path) -> None:
    last = page.read_text().rstrip().splitlines()[-1]
    assert last.startswith("**Does harm when**")
    assert last.endswith("not measured.") or "results.md" in last, "only what was measured"
