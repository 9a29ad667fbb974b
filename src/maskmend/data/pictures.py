"""One picture file to one array and back: PNG, BMP and JPEG by pillow, TIFF by tifffile.

Arrays here always have a channel axis: (C, *S), where *S is (H, W) or (D, H, W). ``formats`` adds the rules on top.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from .geometry import Array, Geometry
from .volumes import decode_volume, encode_volume

# --- pictures ---------------------------------------------------------------------------------------------------------


def decode_picture(path: Path, indices: bool) -> Array:
    """(C, H, W) of a PNG, BMP or JPEG. Of a palette, its ``indices`` (a label), else its colours."""
    from PIL import Image

    if _deep_colour_png(path):
        return _without_alpha(path, decode_volume(path)[0])
    with Image.open(path) as opened:
        opened.load()
        picture: Image.Image = opened
        if picture.mode == "P" and not indices:
            picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
        elif picture.mode not in ("P", "1", "L", "LA", "RGB", "RGBA", "F") and not picture.mode.startswith("I"):
            picture = picture.convert("RGB")
        array = np.asarray(picture)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    return _without_alpha(path, np.moveaxis(array, -1, 0) if array.ndim == 3 else array[None])


def encode_picture(path: Path, array: Array) -> None:
    """Write (1 or 3, H, W) of whole numbers below 256 (BMP) or 65536 (PNG)."""
    from PIL import Image

    array = array.astype(np.uint8 if array.dtype.itemsize == 1 or path.suffix == ".bmp" else np.uint16)
    if len(array) == 3 and array.dtype == np.uint16:
        encode_volume(path, array, Geometry((1.0, 1.0)))  # pillow has no 16-bit colour
        return
    picture = Image.fromarray(np.ascontiguousarray(array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)))
    picture.save(path, compress_level=1)  # three times as fast, hardly larger
    if path.suffix == ".bmp":
        decode_picture(path, indices=True)  # pillow ends a BMP on a full disk without a word


def _deep_colour_png(path: Path) -> bool:
    """Whether a PNG has 16-bit colour, which pillow would cut to 8 bits (PNG specification, IHDR)."""
    with path.open("rb") as stream:
        head = stream.read(26)
    return head.startswith(b"\x89PNG") and len(head) == 26 and head[24] == 16 and head[25] in (2, 6)


def _without_alpha(path: Path, array: Array) -> Array:
    """(C, *S) less its transparency, if it says nothing."""
    if len(array) not in (2, 4):
        return array
    if np.ptp(array[-1]):
        raise InputError(f"{path} has a transparency that varies over the image; save it without an alpha channel.")
    return array[:-1]


# --- TIFF -------------------------------------------------------------------------------------------------------------


def decode_tiff(path: Path) -> Array:
    """(C, *S) of a TIFF: one page, a stack of pages, or colour."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        if len(file.series) != 1:
            raise InputError(f"{path} holds {len(file.series)} pictures of unlike sizes; save one picture to a file.")
        series = file.series[0]
        axes, array = str(series.axes), series.asarray()
        transparent = bool(file.pages.first.extrasamples)
    channel = [axis for axis, letter in enumerate(axes) if letter in "SC"]
    if len(channel) > 1 or array.ndim - len(channel) not in (2, 3):
        raise InputError(f"{path} has the axes {axes}; save it as one 2D picture or one 3D stack.")
    array = np.moveaxis(array, channel[0], 0) if channel else array[None]
    if array.dtype == bool:
        array = array.astype(np.uint8)
    return _without_alpha(path, array) if transparent else array


def encode_tiff(path: Path, array: Array) -> None:
    """Write (C, *S), compressed without loss; three channels in 2D are colour."""
    import tifffile

    if len(array) == 1:
        tifffile.imwrite(path, array[0], photometric="minisblack", compression="zlib")
    elif array.ndim == 3 and len(array) == 3:
        tifffile.imwrite(path, np.moveaxis(array, 0, -1), photometric="rgb", compression="zlib")
    else:
        axes = "CYX" if array.ndim == 3 else "CZYX"
        tifffile.imwrite(path, array, photometric="minisblack", compression="zlib", metadata={"axes": axes})
