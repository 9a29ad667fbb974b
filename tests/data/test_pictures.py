"""Every kind of PNG, BMP, JPEG and TIFF against the format's own definition, pillow, tifffile or imagecodecs."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from maskmend.data.formats import read_image, read_label, write_image
from maskmend.data.geometry import Geometry
from maskmend.errors import InputError

H, W = 5, 7
RNG = np.random.default_rng(0)
GREY, RGB = RNG.integers(0, 251, (H, W), np.uint8), RNG.integers(0, 251, (H, W, 3), np.uint8)
BITS = RNG.integers(0, 2, (H, W), np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples: np.ndarray, depth: int, colour: int, *more: bytes) -> bytes:
    """A PNG of (H, W, channels) samples, as its specification has it."""
    lines = b""
    for line in samples.reshape(len(samples), -1):
        bits = (line[:, None] >> np.arange(depth - 1, -1, -1)) & 1
        lines += b"\0" + np.packbits(bits.ravel()).tobytes()
    head = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, colour, 0, 0, 0)
    packed = chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(more) + packed + chunk(b"IEND", b"")


CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
KINDS = (
    [(0, d) for d in (1, 2, 4, 8, 16)] + [(3, d) for d in (1, 2, 4, 8)] + [(c, d) for c in (2, 4, 6) for d in (8, 16)]
)


@pytest.mark.parametrize("key", [False, True])
@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_png(tmp_path: Path, colour: int, depth: int, key: bool) -> None:
    """Every colour type and depth, with a colour key or a transparent entry that nothing uses, too."""
    samples = np.random.default_rng(depth).integers(0, 2**depth - 1, (H, W, CHANNELS[colour]), endpoint=True)
    palette = np.random.default_rng(1).integers(0, 255, (2**depth if depth < 16 else 1, 3), np.uint8)
    if colour in (4, 6):
        samples[..., -1] = 2**depth - 1
    more = [chunk(b"PLTE", palette.tobytes())] * (colour == 3)
    if key and colour < 4:
        more.append(chunk(b"tRNS", b"\xff" if colour == 3 else struct.pack(">H", 0) * CHANNELS[colour]))
    path = tmp_path / "a.png"
    path.write_bytes(png(samples, depth, colour, *more))
    image = read_image([path]).array
    scale = {2: 85, 4: 17}.get(depth, 1)
    expected = palette[samples[..., 0]] if colour == 3 else samples[..., : 3 if colour in (2, 6) else 1] * scale
    assert image.dtype == (np.uint16 if depth == 16 else np.uint8)
    np.testing.assert_array_equal(np.moveaxis(image, 0, -1), expected)
    other = (
        np.asarray(Image.open(path).convert("RGBA").convert("L" if colour in (0, 4) else "RGB")) if depth < 16 else None
    )
    if other is None:
        other = imagecodecs.png_decode(path.read_bytes()).reshape(H, W, -1)[..., : len(image)]
    np.testing.assert_array_equal(expected.squeeze(), other.squeeze() // (255 if (colour, depth) == (0, 1) else 1))


def test_a_png_of_16_bits_that_is_cut_or_changed_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(whole := png(RNG.integers(0, 65535, (20, 20, 2)) | [0, 65535], 16, 4))
    read_image([path])
    for broken in (whole[:200], whole[:-20], whole[:300] + b"!" + whole[301:]):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"a\.png cannot be read"):
            read_image([path])


def test_palettes_of_labels(tmp_path: Path) -> None:
    """Indices are classes, unless the palette is white first and black after: a black-and-white picture."""
    for name, colours, expected in (
        ("classes", [0, 0, 0, 255, 0, 0, 0, 255, 0], [0, 1, 2]),
        ("grey", [0, 0, 0, 128, 128, 128, 255, 255, 255], [0, 1, 2]),
        ("white first", [255, 255, 255, 0, 0, 0, 0, 0, 0], [255, 0, 0]),
    ):
        picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("L")
        picture.putpalette(colours)
        picture.save(tmp_path / f"{name}.png", transparency=0)
        assert read_label(tmp_path / f"{name}.png").array.tolist() == [expected]
    monochrome = Image.fromarray(np.array([[0, 1, 1]], np.uint8)).convert("L")
    monochrome.putpalette([255, 255, 255, 0, 0, 0])
    monochrome.save(tmp_path / "a.bmp")
    assert read_label(tmp_path / "a.bmp").array.tolist() == [[255, 0, 0]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_bmp(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(RGB).convert(mode)
    picture.save(tmp_path / "a.bmp")
    expected = np.asarray(picture.convert("L" if mode in "1L" else "RGB")) // (255 if mode == "1" else 1)
    np.testing.assert_array_equal(np.moveaxis(read_image([tmp_path / "a.bmp"]).array, 0, -1).squeeze(), expected)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg(tmp_path: Path, mode: str) -> None:
    Image.fromarray(RGB).convert(mode).save(tmp_path / "a.jpg", quality=100)
    expected = np.asarray(Image.open(tmp_path / "a.jpg").convert("RGB"))
    image = np.moveaxis(read_image([tmp_path / "a.jpg"]).array, 0, -1)
    assert image.shape[-1] == (1 if mode == "L" else 3)
    np.testing.assert_array_equal(np.broadcast_to(image, expected.shape), expected)


def test_many_pictures_in_one_file_are_refused(tmp_path: Path) -> None:
    first, second = Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())
    first.save(tmp_path / "a.png", save_all=True, append_images=[second])
    with pytest.raises(InputError, match=r"a\.png holds 2 pictures; save one picture to a file"):
        read_image([tmp_path / "a.png"])
    tifffile.imwrite(tmp_path / "a.tif", GREY, photometric="minisblack")
    tifffile.imwrite(tmp_path / "a.tif", GREY[:3], photometric="minisblack", append=True)
    with pytest.raises(InputError, match=r"a\.tif holds 2 pictures of unlike sizes"):
        read_image([tmp_path / "a.tif"])


# --- TIFF -------------------------------------------------------------------------------------------------------------

TYPES = [
    f"{order}{kind}" for kind in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8") for order in "<>"
]


@pytest.mark.parametrize("dtype", TYPES)
def test_tiff_numbers(tmp_path: Path, dtype: str) -> None:
    """Every number type in both byte orders, plain, tiled, predicted, in a BigTIFF and in a stack."""
    numbers, path = (GREY.astype(dtype) - (dtype[1] != "u") * 90).astype(dtype), tmp_path / "a.tif"
    predictor = 3 if dtype[1] == "f" else 2
    for more in (
        {},
        {"tile": (16, 16)},
        {"bigtiff": True},
        {"compression": "lzw", "predictor": predictor},
        {"compression": "zstd", "rowsperstrip": 2},
    ):
        tifffile.imwrite(path, numbers, photometric="minisblack", byteorder=dtype[0], **more)
        image = read_image([path]).array
        assert image.dtype == np.dtype(dtype[1:])
        np.testing.assert_array_equal(image[0], numbers)
    tifffile.imwrite(path, np.stack([numbers, numbers[::-1]]), photometric="minisblack", byteorder=dtype[0])
    np.testing.assert_array_equal(read_image([path]).array[0], np.stack([numbers, numbers[::-1]]))


@pytest.mark.parametrize("bits", range(1, 17))
def test_tiff_of_odd_bits(tmp_path: Path, bits: int) -> None:
    """Packed by hand: rows begin at a byte (TIFF 6.0, p. 29)."""
    samples = np.random.default_rng(bits).integers(0, 2**bits - 1, (H, W), endpoint=True)
    rows = b"".join(
        np.packbits(((row[:, None] >> np.arange(bits - 1, -1, -1)) & 1).ravel()).tobytes() for row in samples
    )
    for photometric in (1, 0):
        if bits in (8, 16) and not photometric:
            continue  # below
        (tmp_path / "a.tif").write_bytes(raw_tiff(rows, bits, photometric))
        expected = samples if photometric else 2**bits - 1 - samples
        np.testing.assert_array_equal(read_image([tmp_path / "a.tif"]).array[0], expected)


def raw_tiff(rows: bytes, bits: int, photometric: int) -> bytes:
    """A TIFF of one strip, big-endian; tags by number (TIFF 6.0, section 2)."""
    tags = {256: W, 257: H, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: H, 279: len(rows)}
    place = 8 + len(rows) + len(rows) % 2
    entries = b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags.items())
    return (
        struct.pack(">2sHI", b"MM", 42, place)
        + rows.ljust(place - 8, b"\0")
        + struct.pack(">H", len(tags))
        + entries
        + b"\0" * 4
    )


PILLOW = ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "lzma", "zstd", "jpeg", "tiff_jpeg"]
FAX = ["tiff_ccitt", "group3", "group4"]
CODECS = ["lzw", "zlib", "packbits", "lzma", "zstd", "deflate", "jpeg2000", "lerc", "jpegxl", "png", "jpegxr"]


@pytest.mark.parametrize("codec", PILLOW)
@pytest.mark.parametrize("mode", ["L", "RGB", "1", "P", "LA", "CMYK", "YCbCr"])
def test_tiff_codecs_as_pillow_reads_them(tmp_path: Path, codec: str, mode: str) -> None:
    source, path = Image.fromarray(RGB.repeat(4, 0).repeat(4, 1)), tmp_path / "a.tif"
    if "jpeg" in codec and mode in ("1", "P", "LA", "YCbCr"):
        pytest.skip("not a kind of JPEG")
    source.convert(mode).save(path, compression=codec)
    with Image.open(path) as picture:
        expected = np.asarray(picture.convert("L" if mode in ("1", "L", "LA") else "RGB"))
    image = np.moveaxis(read_image([path]).array, 0, -1)
    np.testing.assert_array_equal(image.squeeze() * (255 if mode == "1" else 1), expected)


@pytest.mark.parametrize("codec", FAX)
def test_tiff_of_a_fax(tmp_path: Path, codec: str) -> None:
    Image.fromarray(BITS.astype(bool)).save(tmp_path / "a.tif", compression=codec)
    np.testing.assert_array_equal(read_label(tmp_path / "a.tif").array, BITS)


@pytest.mark.parametrize("codec", CODECS)
def test_tiff_codecs_as_tifffile_writes_them(tmp_path: Path, codec: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY, photometric="minisblack", compression=codec)
    np.testing.assert_array_equal(read_label(tmp_path / "a.tif").array, GREY)


def test_tiff_of_webp(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb", compression="webp", compressionargs={"lossless": True})
    np.testing.assert_array_equal(np.moveaxis(read_image([tmp_path / "a.tif"]).array, 0, -1), RGB)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16])
def test_tiff_where_zero_is_white(tmp_path: Path, dtype: type[np.generic]) -> None:
    """The TIFF specification's WhiteIsZero, which pillow knows up to 8 bits."""
    numbers, path = (BITS if dtype is np.bool_ else GREY).astype(dtype), tmp_path / "a.tif"
    tifffile.imwrite(path, numbers, photometric="miniswhite")
    top = 1 if dtype is np.bool_ else np.iinfo(dtype).max
    np.testing.assert_array_equal(read_image([path]).array[0], top - numbers.astype(int))
    if dtype is not np.uint16:
        np.testing.assert_array_equal(read_image([path]).array[0], np.asarray(Image.open(path)))
    with pytest.warns(UserWarning, match="in which zero means white"):
        np.testing.assert_array_equal(read_label(path).array, top - numbers.astype(int))


def test_tiff_palette_is_colour_in_an_image_and_class_in_a_label(tmp_path: Path) -> None:
    palette, path = RNG.integers(0, 65535, (3, 256)).astype(np.uint16), tmp_path / "a.tif"
    tifffile.imwrite(path, GREY % 4, photometric="palette", colormap=palette)
    np.testing.assert_array_equal(read_label(path).array, GREY % 4)
    np.testing.assert_array_equal(
        np.moveaxis(read_image([path]).array, 0, -1), np.asarray(Image.open(path).convert("RGB"))
    )


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize(("extra", "kept"), [((), 3), ((2,), 3), ((1,), 3), ((0,), 3)])
def test_tiff_colours(tmp_path: Path, planar: str, extra: tuple[int, ...], kept: int) -> None:
    """Interleaved and in planes, with an alpha channel that says nothing."""
    colours = np.concatenate([RGB, np.full((H, W, len(extra)), 255, np.uint8)], -1)
    samples = colours if planar == "contig" else np.moveaxis(colours, -1, 0)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, samples, photometric="rgb", planarconfig=planar, extrasamples=extra)
    np.testing.assert_array_equal(np.moveaxis(read_image([path]).array, 0, -1), RGB[..., :kept])


def test_a_fourth_channel_that_is_no_transparency_stays(tmp_path: Path) -> None:
    four = np.stack([GREY, GREY, GREY, np.full_like(GREY, 9)])
    write_image(tmp_path / "a.tif", four, Geometry((1.0, 1.0)))
    np.testing.assert_array_equal(read_image([tmp_path / "a.tif"]).array, four)


def test_tiff_colours_that_would_be_changed_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, photometric="cielab")
    with pytest.raises(InputError, match="colours of the kind CIELAB; save it in grey or RGB"):
        read_image([path])
    tifffile.imwrite(path, np.dstack([RGB, GREY]).astype(np.uint16), photometric="separated")
    with pytest.raises(InputError, match="colours for printing or video"):
        read_image([path])
    tifffile.imwrite(path, (GREY + 1j).astype(np.complex64), photometric="minisblack")
    with pytest.raises(InputError, match="holds numbers of the kind complex64"):
        read_image([path])


# --- orientation ------------------------------------------------------------------------------------------------------


def oriented(path: Path, array: np.ndarray, value: int) -> None:
    """A picture that says by EXIF, or a TIFF by its tag, how it is to be turned."""
    if path.suffix == ".tif":
        tifffile.imwrite(path, array, photometric="minisblack", extratags=[(274, 3, 1, value, True)])
        return
    exif = Image.Exif()
    exif[274] = value
    Image.fromarray(array).save(path, exif=exif)


def as_image(path: Path) -> np.ndarray:
    return read_image([path]).array[0]


def as_label(path: Path) -> np.ndarray:
    return read_label(path).array


@pytest.mark.parametrize("value", range(10))
@pytest.mark.parametrize(
    ("ending", "read"),
    [(".png", as_image), (".jpg", as_image), (".tif", as_image), (".png", as_label), (".tif", as_label)],
)
def test_orientation(tmp_path: Path, value: int, ending: str, read: Callable[[Path], np.ndarray]) -> None:
    """As pillow turns a picture to show it, image and mask alike."""
    path = tmp_path / f"a{ending}"
    oriented(path, GREY, value)
    oriented(shown := tmp_path / f"shown{ending.replace('tif', 'png')}", GREY, value)  # pillow spoils turned TIFF
    with Image.open(shown) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        np.testing.assert_array_equal(read(path), expected)
    assert any("orientation how they are to be turned" in str(each.message) for each in said) == (1 < value < 9)


def test_a_stack_is_turned_slice_by_slice(tmp_path: Path) -> None:
    stack = np.stack([GREY, GREY[::-1], GREY[:, ::-1]])
    oriented(tmp_path / "a.tif", stack, 6)
    with pytest.warns(UserWarning, match="orientation"):
        np.testing.assert_array_equal(read_image([tmp_path / "a.tif"]).array[0], np.rot90(stack, -1, (1, 2)))
