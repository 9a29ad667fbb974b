"""What must never stand in the page's files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from maskmend.review import server

FILES = sorted((Path(server.__file__).parent / "page").iterdir())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_page_stays_here_and_reads_no_name_as_html(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|//[\w-]+\.\w|@import|url\(", text), "an outside address"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text)
    assert not re.search(r"localStorage|sessionStorage|indexedDB|document\.cookie|\bcaches\b", text), "storage"
    assert not re.search(r"<style|\bstyle=|\son\w+=\"|javascript:", text), "against the policy"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
