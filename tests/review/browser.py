"""Small made-up audits for the browser tests, and a page of a real browser that forgives no breach of its rules."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image

from maskmend.audit import store
from maskmend.data.dataset import write_dataset
from maskmend.data.formats import read_label, write_image, write_label
from maskmend.data.geometry import Geometry
from maskmend.review.server import Running
from maskmend.review.session import Session

LABELS = {"background": 0, "lesion": 1, "edema": 2}
WATCH = "addEventListener('securitypolicyviolation', (event) => console.error('CSP: ' + event.violatedDirective));"
"""Run in every page before its own scripts: what the policy forbids becomes an error of the console."""


def write_audit(root: Path, dims: int, squares: Sequence[tuple[int, ...]] = ()) -> Path:
    """The audit of the data set ``root``/data, whose files are there.

    squares: corners of parts of 3 pixels a side in each case, each a finding that suggests the class lesion.
    """
    data, folder = root / "data", root / "audit"
    ending = ".nii.gz" if dims == 3 else ".png"
    labels = sorted((data / "labelsTr").iterdir())
    channels = ["MRI"] if dims == 3 else ["red", "green", "blue"]
    write_dataset(data, channels, LABELS, ending, len(labels))
    names = [path.name.removesuffix(ending) for path in labels]
    images = [data / "imagesTr" / f"{name}_0000{ending}" for name in names]
    files = {n: (store.sha256(p), store.sha256(i)) for n, p, i in zip(names, labels, images, strict=True)}
    about = store.About(
        maskmend="1", dataset=str(data), dims=dims, labels=LABELS, ignore=None, file_ending=ending, files=files,
        made="2026-01-01T00:00:00+00:00", seconds=1,
    )  # fmt: skip
    for name, path in zip(names, labels, strict=True):
        given = read_label(path)
        numbers, suggestion = np.zeros_like(given.array), given.array.copy()
        findings = [_finding(name, n, corner, numbers, suggestion) for n, corner in enumerate(squares, 1)]
        maps = {"findings": numbers, "suggestions": suggestion}
        store.write_case(folder, about, name, findings, maps, given.geometry)
    hint = "review" if squares else "fine"
    rows = [
        store.Row(case=n, rank=r, doubt=1 / (1 + r), hint=hint, classes=("lesion",), findings=len(squares))
        for r, n in enumerate(names, 1)
    ]  # fmt: skip
    store.write_rows(folder, rows)
    store.write_about(folder, about)
    return folder


def _finding(name: str, number: int, corner: Sequence[int], numbers: Any, suggestion: Any) -> store.Finding:
    part = tuple(slice(start, start + 3) for start in corner)
    numbers[part], suggestion[part] = number, 1
    return store.Finding(
        id=f"{name}:{number}", number=number, kind="missing", class_="lesion", source="model", suggested=True,
        box=tuple((start, start + 3) for start in corner), slice=tuple(start + 1 for start in corner),
        voxels=3 ** len(corner), volume_ml=None, confidence=0.9, text=f"Missing part {number}.",
    )  # fmt: skip


def write_volume(data: Path, name: str, axes: str, ras: Any, spacing_mm: Sequence[float]) -> None:
    """An image that is given with its axes to the right, to the front and up, stored along ``axes``; an empty label."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = (-7, 3, 11)
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(axes)
    )
    for folder, end, array in (("imagesTr", "_0000", ras), ("labelsTr", "", np.zeros_like(ras))):
        (data / folder).mkdir(parents=True, exist_ok=True)
        picture = nibabel.Nifti1Image(array.astype(np.int16), affine).as_reoriented(turn)
        nibabel.save(picture, data / folder / f"{name}{end}.nii.gz")


def write_picture(data: Path, name: str, rgb: Any, label: Any | None = None) -> None:
    """A colour picture (H, W, 3) and its label (H, W), empty where none is given."""
    for folder in ("imagesTr", "labelsTr"):
        (data / folder).mkdir(parents=True, exist_ok=True)
    flat = Geometry((1.0, 1.0))
    write_image(data / "imagesTr" / f"{name}_0000.png", np.moveaxis(rgb, -1, 0), flat)
    write_label(data / "labelsTr" / f"{name}.png", np.zeros(rgb.shape[:2], np.uint8) if label is None else label, flat)


@contextmanager
def only_looking(folder: Path) -> Iterator[str]:
    """The address of a review that somebody else has open."""
    started = Running(Session(store.open_audit(folder), None, "Anna B. has this review open.", 0, 0))
    thread = threading.Thread(target=started.serve, daemon=True)
    thread.start()
    yield started.address
    started.stop()
    thread.join(10)


@contextmanager
def watched(browser: Any, address: str) -> Iterator[Any]:
    """A page on the review. At the end nothing may have been complained of, nor asked of another address."""
    page = browser.new_page(viewport={"width": 1100, "height": 760})
    complaints: list[str] = []
    page.add_init_script(WATCH)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda box: (complaints.append(f"dialog: {box.message}"), box.dismiss()))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.complaints = complaints
    try:
        page.goto(address)
        yield page
        home = address.partition("#")[0]
        assert not complaints
        assert all(url.startswith((home, f"blob:{home}")) for url in asked)
    finally:
        page.close()


def seen(page: Any) -> Any:
    """What the large plane shows, (H, W, 4) of one CSS pixel each, outlines left out."""
    address = page.locator(".stage > .view .picture").evaluate("canvas => canvas.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGBA")).astype(int)


def press_on(page: Any, row: float, column: float) -> None:
    """Click on a pixel of what ``seen`` shows."""
    box = page.locator(".stage > .view .lines").bounding_box()
    page.mouse.click(box["x"] + float(column), box["y"] + float(row))
