"""Series of DICOM slices: sorted and placed by their headers, rescaled, and refused where they make no volume."""

from __future__ import annotations

import re
import shutil
import unicodedata
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="DICOM needs pydicom and highdicom: pip install 'maskmend[dicom]'")
pytest.importorskip("highdicom", reason="DICOM needs pydicom and highdicom: pip install 'maskmend[dicom]'")

from pydicom.data import get_testdata_file  # noqa: E402
from tests.dicoms import AXIAL, CORONAL, PATIENT, SAGITTAL, header, make_series  # noqa: E402

from maskmend.data import dicom_scan  # noqa: E402
from maskmend.data.dicom import Found, is_dicom, survey  # noqa: E402
from maskmend.data.dicom_names import words_of  # noqa: E402
from maskmend.data.dicom_scan import geometry_of, in_order, read_scan  # noqa: E402
from maskmend.data.volumes import simple_itk  # noqa: E402
from maskmend.errors import InputError  # noqa: E402

VALUES = np.random.default_rng(0).integers(0, 3000, (7, 9, 11))
OBLIQUE = (*(np.array([3.0, 1, -1]) / np.sqrt(11)), *(np.array([0, 1.0, 1]) / np.sqrt(2)))


def shipped(name: str) -> Path:
    return Path(get_testdata_file(name, download=False))


def only(root: Path) -> tuple[Any, Any]:
    found = survey(root)
    (series,) = found.series
    return in_order(series, found), found


def changed(path: Path, **values: Any) -> None:
    read = pydicom.dcmread(path)
    for word, value in values.items():
        setattr(read, word, value)
    read.save_as(path)


@pytest.mark.parametrize("axes", [AXIAL, SAGITTAL, CORONAL, OBLIQUE], ids=["axial", "sagittal", "coronal", "oblique"])
def test_a_series_lies_where_itk_lays_it(tmp_path: Path, axes: tuple[float, ...]) -> None:
    scan = make_series(tmp_path / "a", VALUES, (2.5, 0.8, 0.7), axes)
    picture = read_scan(*only(tmp_path))
    np.testing.assert_array_equal(picture.array, VALUES - 1024)
    np.testing.assert_allclose(picture.geometry.affine, scan.affine, atol=1e-5)
    sitk = simple_itk()
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(scan.folder))
    other = sitk.ReadImage(names)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(other), picture.array)
    np.testing.assert_allclose(other.GetOrigin(), picture.geometry.origin, atol=1e-5)
    np.testing.assert_allclose(other.GetSpacing(), picture.geometry.spacing_mm[::-1], atol=1e-5)
    np.testing.assert_allclose(other.GetDirection(), picture.geometry.direction, atol=1e-5)


def test_slope_and_intercept_of_each_slice(tmp_path: Path) -> None:
    scan = make_series(tmp_path, VALUES)
    for place, path in enumerate(sorted(tmp_path.iterdir())):
        changed(path, RescaleSlope=0.5 + place, RescaleIntercept=-3)
    picture = read_scan(*only(tmp_path))
    slopes = {str(pydicom.dcmread(path).SOPInstanceUID): 0.5 + n for n, path in enumerate(sorted(tmp_path.iterdir()))}
    wanted = [VALUES[place] * slopes[str(each.SOPInstanceUID)] - 3 for place, each in enumerate(scan.slices)]
    np.testing.assert_array_equal(picture.array, np.array(wanted, np.float32))


def test_an_enhanced_file_is_a_series(tmp_path: Path) -> None:
    from highdicom.legacy import LegacyConvertedEnhancedCTImage

    scan = make_series(tmp_path / "plain", VALUES)
    made = LegacyConvertedEnhancedCTImage(scan.slices, pydicom.uid.generate_uid(), 1, pydicom.uid.generate_uid(), 1)
    (tmp_path / "enhanced").mkdir()
    made.save_as(tmp_path / "enhanced" / "all.dcm")
    picture = read_scan(*only(tmp_path / "enhanced"))
    np.testing.assert_array_equal(picture.array, VALUES - 1024)
    np.testing.assert_allclose(picture.geometry.affine, scan.affine, atol=1e-5)


@pytest.mark.parametrize(
    ("compressed", "plain"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("MR_small_implicit.dcm", "MR_small.dcm"),
    ],
)
def test_files_of_pydicom_hold_the_same_however_stored(tmp_path: Path, compressed: str, plain: str) -> None:
    arrays = []
    for name in (compressed, plain):
        (tmp_path / name).mkdir()
        shutil.copy(shipped(name), tmp_path / name)
        arrays.append(read_scan(*only(tmp_path / name)).array)
    np.testing.assert_array_equal(*arrays)
    assert arrays[0].shape == (1, 64, 64)


def test_what_pydicom_cannot_decompress_gdcm_does(tmp_path: Path) -> None:
    import imagecodecs
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGLosslessSV1

    make_series(tmp_path, VALUES, slope=2.0, intercept=-100.0)
    for path in tmp_path.iterdir():
        read = pydicom.dcmread(path)
        read.PixelData = encapsulate([imagecodecs.ljpeg_encode(read.pixel_array.astype(np.uint16))])
        read.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        read["PixelData"].VR = "OB"
        read.save_as(path)
    with pytest.raises(RuntimeError, match="Unable to decompress"):
        pydicom.dcmread(path).pixel_array  # noqa: B018  # else this test is of nothing
    np.testing.assert_array_equal(read_scan(*only(tmp_path)).array, 2 * VALUES - 100)


def test_a_compression_without_decoder_is_named(tmp_path: Path) -> None:
    from pydicom.encaps import encapsulate
    from pydicom.uid import HTJ2KLossless

    make_series(tmp_path, VALUES[:2])
    for path in tmp_path.iterdir():
        read = pydicom.dcmread(path)
        read.file_meta.TransferSyntaxUID = HTJ2KLossless
        read.PixelData = encapsulate([b"\xff\x4f\xff\x51"])
        read["PixelData"].VR = "OB"
        read.save_as(path)
    with pytest.raises(InputError, match=r"IM0000\.dcm is compressed as High-Throughput JPEG 2000.*decompress it"):
        read_scan(*only(tmp_path))


def refused(root: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        read_scan(*only(root))
    assert PATIENT.split("^")[0].casefold() not in str(raised.value).casefold()
    assert not re.search(r"\d+(\.\d+){5,}", str(raised.value))


def test_a_missing_slice(tmp_path: Path) -> None:
    scan = make_series(tmp_path, VALUES)
    paths = {str(pydicom.dcmread(path).SOPInstanceUID): path for path in tmp_path.iterdir()}
    paths[str(scan.slices[3].SOPInstanceUID)].unlink()
    refused(tmp_path, r"are 6 mm where slices are 3 mm apart; put the missing slices back")


def test_a_doubled_slice(tmp_path: Path) -> None:
    make_series(tmp_path, VALUES)
    shutil.copy(tmp_path / "IM0002.dcm", tmp_path / "again.dcm")
    refused(tmp_path, r"lie at the same place; keep one")


def test_uneven_slices(tmp_path: Path) -> None:
    scan = make_series(tmp_path, VALUES)
    paths = {str(pydicom.dcmread(path).SOPInstanceUID): path for path in tmp_path.iterdir()}
    x, y, z = scan.slices[3].ImagePositionPatient
    changed(paths[str(scan.slices[3].SOPInstanceUID)], ImagePositionPatient=[x, y, z + 0.9])
    refused(tmp_path, r"slices are from 2\.1 to 3\.9 mm apart; resample")


def test_mixed_directions_sizes_and_spacings(tmp_path: Path) -> None:
    for name, change in (
        ("direction", {"ImageOrientationPatient": [*SAGITTAL]}),
        ("pixel spacing", {"PixelSpacing": [0.8, 0.8]}),
    ):
        make_series(tmp_path / name, VALUES)
        changed(tmp_path / name / "IM0005.dcm", **change)
        refused(tmp_path / name, f"has the {name} .* of the same series has")


def test_a_tilted_gantry(tmp_path: Path) -> None:
    make_series(tmp_path, VALUES)
    for path in tmp_path.iterdir():
        x, y, z = map(float, pydicom.dcmread(path).ImagePositionPatient)
        changed(path, ImagePositionPatient=[x, y + 0.2 * z, z])
    refused(tmp_path, r"shifted by 3\.6 mm in all against each other, as a tilted gantry")


def test_other_files_are_left_out_with_a_word(tmp_path: Path) -> None:
    make_series(tmp_path / "ct", VALUES)
    for name in ("SC_rgb_rle.dcm", "rtplan.dcm", "test-SR.dcm", "JPEG2000.dcm", "rtdose.dcm"):
        shutil.copy(shipped(name), tmp_path / name)
    for name, kind in (("capture", "1.2.840.10008.5.1.4.1.1.7"), ("chest", "1.2.840.10008.5.1.4.1.1.1")):
        flat = header("OT", kind)
        flat.Rows = flat.Columns = 4
        flat.SamplesPerPixel = 1
        flat.save_as(tmp_path / name, enforce_file_format=True)
    (tmp_path / "notes.txt").write_text("no DICOM")
    with pytest.warns(UserWarning, match="left out") as said:
        (series,) = survey(tmp_path).series
    assert len(series.frames) == 7
    (words,) = {str(each.message) for each in said}
    assert "1 in colour" in words
    assert "2 secondary captures" in words
    assert "3 without an image of the patient" in words
    assert "1 without a place in space" in words


def test_a_folder_without_a_scan(tmp_path: Path) -> None:
    assert not is_dicom(tmp_path)
    shutil.copy(shipped("SC_rgb_rle.dcm"), tmp_path / "a")
    assert is_dicom(tmp_path)
    with pytest.warns(UserWarning, match="in colour"), pytest.raises(InputError, match="no DICOM scan with a place"):
        survey(tmp_path)


def test_damaged_files(tmp_path: Path) -> None:
    make_series(tmp_path / "a", VALUES)
    path = tmp_path / "a" / "IM0003.dcm"
    whole = path.read_bytes()
    path.write_bytes(whole[:-50])
    refused(tmp_path, r"IM0003\.dcm cannot be read .*replace it by a whole copy")
    path.write_bytes(whole[:140] + b"\xff" * 50)
    with pytest.raises(InputError, match=r"IM0003\.dcm"):
        survey(tmp_path)


def test_a_damaged_transfer_syntax(tmp_path: Path) -> None:
    make_series(tmp_path, VALUES)
    path = tmp_path / "IM0003.dcm"
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1", b"1.2.840.10008.9.9.9"))
    refused(tmp_path, r"IM0003\.dcm cannot be read")


def test_a_file_that_does_not_say_where_it_lies(tmp_path: Path) -> None:
    make_series(tmp_path, VALUES)
    path = tmp_path / "IM0003.dcm"
    read = pydicom.dcmread(path)
    del read.PixelSpacing
    read.save_as(path)
    with pytest.raises(InputError, match=r"IM0003\.dcm does not say where its pixels lie"):
        survey(tmp_path)


def test_paths_do_not_tell_the_patient(tmp_path: Path) -> None:
    for name in ("A", "MUSTERFRAU_E", "1.2.826.0.1.3680043"):
        make_series(tmp_path / name, VALUES[:2])
    found = survey(tmp_path)
    told = [found.told(series.frames[0].path) for series in found.series]
    assert [Path(each).parent.name for each in told] == ["(no. 1 by name)", "A", "(no. 3 by name)"]
    assert found.said(ValueError(f"strange {PATIENT.upper()}")) == "ValueError"
    assert found.said(ValueError("strange")) == "strange"


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("Li_Wu_2", "Li^Wu"),
        (unicodedata.normalize("NFD", "Müller"), "Müller^Hans"),
        ("MUELLER-H", "Müller^Hans"),
        ("muller", "Müller^Hans"),
        ("Musterfrau, Erika", "Erika_Musterfrau"),
        ("王小東", "Wang^XiaoDong=王^小東"),
        ("Oconnor", "O'Connor^Sean"),
        ("1970-01-01", "Lee^A"),
        ("01.01.1970", "Lee^A"),
        ("pid 47 11", "Lee^A"),
    ],
)
def test_a_patient_is_known_in_other_spellings(folder: str, name: str) -> None:
    told = Found(Path("a"), (), (), words_of(of_patient(name)))
    assert told.secret(folder)
    assert str(told.told(Path("a"))) == "a"
    assert replace(told, root=Path("b") / folder).place == str(Path("b/…"))


def test_words_that_only_hold_a_short_name_are_told() -> None:
    told = Found(Path("a"), (), (), words_of(of_patient("Lee^Li^van der")))
    assert told.secret("lee 2")
    assert not any(map(told.secret, ("spleen", "liver", "bladder", "advanced", "CT/IM0001.dcm")))


def of_patient(name: str) -> Any:
    made = header("CT", "1.2.840.10008.5.1.4.1.1.2")
    made.PatientName = name
    return made


@pytest.mark.parametrize(
    "change",
    [
        {"PixelSpacing": [0, 0.7]},
        {"PixelSpacing": [-0.8, 0.7]},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
        {"ImageOrientationPatient": [1, 0, 0, 0.5, 1, 0]},
        {"ImageOrientationPatient": [2, 0, 0, 0, 2, 0]},
    ],
)
def test_a_place_that_is_none(tmp_path: Path, change: dict[str, Any]) -> None:
    make_series(tmp_path, VALUES[:1])
    changed(tmp_path / "IM0000.dcm", **change)
    refused(tmp_path, r"IM0000\.dcm does not say where its pixels lie")


def test_a_single_slice_is_as_thick_as_its_header_says(tmp_path: Path) -> None:
    make_series(tmp_path, VALUES[:1])
    series, _ = only(tmp_path)
    assert geometry_of(series).spacing_mm == (3.0, 0.8, 0.7)


def test_libraries_do_not_quote_headers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_series(tmp_path, VALUES[:2])
    for path in tmp_path.iterdir():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            changed(path, PatientBirthDate=PATIENT, PatientAge=PATIENT * 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dicom_scan.read_scan(*only(tmp_path))
    assert capfd.readouterr() == ("", "")
