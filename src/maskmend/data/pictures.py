"""One picture file to one array and back: PNG, BMP, JPEG and GIF by pillow, deep PNG by imagecodecs, TIFF by tifffile.

Arrays here always have a channel axis: (C, *S), where *S is (H, W) or (D, H, W). ``formats`` adds the rules on top.
Values are those that a viewer shows: turned as the file says, white where zero means white, colours of a palette. Only
of a label the palette's indices are read, for they are its classes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .geometry import Array
from .remarks import remark

READABLE = ("BMP", "DIB", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""What pillow may take a file for, whatever its name says: nothing that runs another program."""
ORIENTATION, PHOTOMETRIC = 274, 262
TURNS: dict[int, Callable[[Array], Array]] = {
    2: lambda array: array[..., ::-1],
    3: lambda array: array[..., ::-1, ::-1],
    4: lambda array: array[..., ::-1, :],
    5: lambda array: array.swapaxes(-1, -2),
    6: lambda array: np.rot90(array, -1, (-2, -1)),
    7: lambda array: array[..., ::-1, ::-1].swapaxes(-1, -2),
    8: lambda array: np.rot90(array, 1, (-2, -1)),
}
"""By the value of the EXIF orientation (Exif 2.32, 4.6.4; TIFF 6.0, p. 36): how to bring (..., H, W) upright."""
TURNED = (
    "some pictures say by their EXIF or TIFF orientation how they are to be turned: they are read as viewers show "
    "them, images and masks alike; masks drawn on pictures as they lie in the file do not fit, look at some."
)
WHITE_IS_ZERO = (
    "some masks are TIFF files in which zero means white: they are read as viewers show them, white above black; look "
    "at some, if yours mark things in black."
)


def turned(array: Array, orientation: object) -> Array:
    """(..., H, W) as a viewer shows a picture of this EXIF orientation; with a warning if that changes it."""
    if orientation not in TURNS:
        return array
    remark(TURNED)
    return TURNS[int(str(orientation))](array)


# --- pictures ---------------------------------------------------------------------------------------------------------


def decode_picture(path: Path, indices: bool) -> Array:
    """(C, H, W) of a PNG, BMP, JPEG or GIF. Of a palette, its ``indices`` (a label), else its colours."""
    from PIL import Image

    with Image.open(path, formats=READABLE) as picture:
        if (count := getattr(picture, "n_frames", 1)) > 1 and picture.format != "MPO":
            raise InputError(f"{path} holds {count} pictures; save one picture to a file.")
        picture.load()
        orientation = picture.getexif().get(ORIENTATION)
        array = _deep_png(path) if _is_deep(path) else np.asarray(_plain(picture, indices))
    if array.dtype == bool:
        array = array.astype(np.uint8)
    array = np.moveaxis(array, -1, 0) if array.ndim == 3 else array[None]
    return turned(_opaque(path, array, [*range(len(array))[1 if len(array) == 2 else 3 :]]), orientation)


def encode_picture(path: Path, array: Array) -> None:
    """Write (1 or 3, H, W) of whole numbers below 256 (BMP) or 65536 (PNG)."""
    from PIL import Image

    array = array.astype(np.uint8 if array.dtype.itemsize == 1 or path.suffix == ".bmp" else np.uint16)
    array = np.ascontiguousarray(array[0] if len(array) == 1 else np.moveaxis(array, 0, -1))
    if array.ndim == 3 and array.dtype == np.uint16:  # which pillow does not have
        import imagecodecs

        path.write_bytes(imagecodecs.png_encode(array, level=1))
        return
    Image.fromarray(array).save(path, compress_level=1)  # three times as fast, hardly larger
    if path.suffix == ".bmp":
        decode_picture(path, indices=True)  # pillow ends a BMP on a full disk without a word


def _plain(picture: Any, indices: bool) -> Any:
    """The picture in grey, colours or, of a palette, ``indices``; grey palettes that do not rise are no classes."""
    if picture.mode == "P":
        if indices and picture.format != "GIF" and not _falling_greys(picture):
            return picture
        return picture.convert("RGBA" if "transparency" in picture.info and not indices else "RGB")
    known = picture.mode in ("1", "L", "LA", "RGB", "RGBA", "F") or picture.mode.startswith("I")
    return picture if known else picture.convert("RGB")


def _falling_greys(picture: Any) -> bool:
    """Whether a palette is grey, and a later entry in use darker than an earlier one: white first, say."""
    colours = np.reshape(picture.getpalette("RGB"), (-1, 3))[[index for _, index in picture.getcolors(256)]]
    return bool((colours == colours[:, :1]).all() and (np.diff(colours[:, 0].astype(int)) < 0).any())


def _is_deep(path: Path) -> bool:
    """Whether a file is a PNG of 16 bits, which pillow would cut to 8 unless it is grey (PNG specification, IHDR)."""
    with path.open("rb") as stream:
        head = stream.read(26)
    return head.startswith(b"\x89PNG") and head[24] == 16


def _deep_png(path: Path) -> Array:
    """(H, W[, C]) of a PNG of 16 bits, less the transparency that a colour key would make of it."""
    import imagecodecs

    content = path.read_bytes()
    array: Array = imagecodecs.png_decode(content)
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[content[25]]
    return array if array.ndim == 2 else array[..., :channels].squeeze(-1) if channels == 1 else array[..., :channels]


def _opaque(path: Path, array: Array, alphas: list[int]) -> Array:
    """(C, *S) less its channels of transparency, if they say nothing."""
    if any(np.ptp(array[alpha]) for alpha in alphas):
        raise InputError(f"{path} has a transparency that varies over the image; save it without an alpha channel.")
    return np.delete(array, alphas, axis=0) if alphas else array


# --- TIFF -------------------------------------------------------------------------------------------------------------


def decode_tiff(path: Path, indices: bool = False) -> Array:
    """(C, *S) of a TIFF: one page, a stack of pages, or colour. Of a palette, its ``indices`` (a label), else its
    colours."""
    import tifffile

    with tifffile.TiffFile(path, _multifile=False) as file:  # OME-TIFF may name files elsewhere
        if len(file.series) != 1:
            raise InputError(f"{path} holds {len(file.series)} pictures of unlike sizes; save one picture to a file.")
        series, page, pages = file.series[0], file.pages.first, len(file.pages)
        colours, codec = (getattr(value, "name", "?") for value in (page.photometric, page.compression))
        orientation = page.tags.valueof(ORIENTATION)
        if colours == "SEPARATED" or (colours == "YCBCR" and "JPEG" not in codec):
            return _ink(path, plain=page.bitspersample == 8 and pages == 1 and orientation not in TURNS)
        axes, array = str(series.axes), series.asarray()
        palette = page.colormap
        white_is_zero = colours == "MINISWHITE" and PHOTOMETRIC in page.tags and array.dtype.kind in "bu"
    channel = [axis for axis, letter in enumerate(axes) if letter in "SC"]
    if len(channel) > 1 or array.ndim - len(channel) not in (2, 3):
        raise InputError(f"{path} has the axes {axes}; save it as one 2D picture or one 3D stack.")
    if colours not in ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE", "YCBCR", "MASK"):
        raise InputError(f"{path} has colours of the kind {colours}; save it in grey or RGB.")
    array = np.moveaxis(array, channel[0], 0) if channel else array[None]
    array = _opaque(path, array, _alphas(page, colours, len(array)))
    if colours == "PALETTE" and not indices:
        array = _coloured(array[0], np.asarray(palette))
    array = array.astype(np.uint8) if array.dtype == bool else array
    if white_is_zero:
        array = (1 << page.bitspersample) - 1 - array
        if indices:
            remark(WHITE_IS_ZERO)
    return turned(array, orientation)


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


def _ink(path: Path, plain: bool) -> Array:
    """(3, H, W), RGB of the colours that tifffile leaves as they are: of printing inks (CMYK), and of video (YCbCr)."""
    from PIL import Image

    if not plain:
        raise InputError(
            f"{path} has colours for printing or video, not in one upright page of 8 bits; save it as RGB."
        )
    with Image.open(path, formats=("TIFF",)) as picture:
        return np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0)


def _coloured(index: Array, palette: Array) -> Array:
    """(3, *S) uint8 of places in a palette (3, N) of 16 bits; some programs write 8 bits there, as libtiff knows."""
    return (palette >> 8 if palette.max() > 255 else palette).astype(np.uint8)[:, index]


def _alphas(page: Any, colours: str, channels: int) -> list[int]:
    """Which channels are transparency: said to be, or beyond red, green and blue without a word."""
    extra = page.extrasamples
    return [
        channels - len(extra) + place for place, kind in enumerate(extra) if int(kind) in (1, 2) or colours == "RGB"
    ]
