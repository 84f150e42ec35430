"""What kind of image a plane is: read from all that standard and makers write, and nothing read into plain CT."""

from pathlib import Path

import pytest
from ct_factory import CtSpec, write_ct, write_enhanced
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from segmenter.errors import Reason, SegmenterError
from segmenter.read.image_kind import PLAIN, Beam, image_kind
from segmenter.read.series import read_series

PLAIN_TYPES = [
    ["ORIGINAL", "PRIMARY", "AXIAL"],
    ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
    ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"],
    ["DERIVED", "PRIMARY", "MPR", "CT_SOM7 MPR"],
    ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
    ["DERIVED", "SECONDARY"],
    ["ORIGINAL"],
]
PLAIN_WORDS = [
    "Hip 2.5mm STANDARD", "Becken nativ 3.0 Br40", "PELVIS WITH IODINE CONTRAST", "CALCIUM SCORE", "CT MONOBLOC CUP",
    "Hip 120 kV", "portal venous 70 s", "LIMP", "Uhip VNCO", "MIPS", "BONE PLUS",
]  # fmt: skip
MAPS = [
    ("MAT_SPECIFIC", "", "map of one material"),
    ("MAT_FRACTIONAL", "", "map of one material"),
    ("MAT_VALUE_BASED", "", "map of one material"),
    ("MAT_REMOVED", "", "without one material"),
    ("MAT_MODIFIED", "", "without one material"),
    ("EFF_ATOMIC_NUM", "", "atomic numbers"),
    ("ELECTRON_DENSITY", "", "electron densities"),
    ("CT_SOM5 MIP", "", "projection"),
    ("MIN_IP", "", "projection"),
    ("VRT", "", "rendered"),
    ("SUBTRACTION", "", "arithmetic"),
    ("CBV", "", "perfusion"),
    ("", "Iodine map", "map of one material"),
    ("", "Iodine_Density[mg/ml]", "map of one material"),
    ("", "Iodine no Water [mg/ml]", "map of one material"),
    ("", "GSI Water(Iodine)", "map of one material"),
    ("", "HAP(Water) 1.25mm", "map of one material"),
    ("", "VNC[HU*]", "without one material"),
    ("", "VNCa bone marrow", "without one material"),
    ("", "virtual non calcium", "without one material"),
    ("", "Virtual non-contrast 3.0", "without one material"),
    ("", "Calcium Suppression 25", "without one material"),
    ("", "Z Effective", "atomic numbers"),
    ("", "Rho/Z", "atomic numbers"),
    ("", "Electron Density[%EDW]", "electron densities"),
    ("", "Hip DirectDensity", "DirectDensity"),
    ("", "Direct Density Sd36", "DirectDensity"),
    ("", "thin MIP 10 mm", "projection"),
]


def header(*types: str, **values: object) -> Dataset:
    result = Dataset()
    result.ImageType = list(types) or ["ORIGINAL", "PRIMARY", "AXIAL"]
    result.KVP, result.ConvolutionKernel = "120", "B30f"
    for keyword, value in values.items():
        setattr(result, keyword, value)
    return result


@pytest.mark.parametrize("types", PLAIN_TYPES, ids="-".join)
def test_plain_images_are_of_a_tube_voltage(types: list[str]):
    kind = image_kind([header(*types)])
    assert (kind.beam, kind.kev, kind.kvp, kind.kernel, kind.not_hu) == (Beam.POLYCHROMATIC, None, 120.0, "B30f", "")


@pytest.mark.parametrize("words", PLAIN_WORDS)
def test_usual_descriptions_say_nothing(words: str):
    kind = image_kind([header(SeriesDescription=words)])
    assert (kind.beam, kind.not_hu) == (Beam.POLYCHROMATIC, "")


@pytest.mark.parametrize(("value", "words", "what"), MAPS, ids=[value or words for value, words, _ in MAPS])
def test_maps_and_projections_are_not_hu(value: str, words: str, what: str):
    types = ("DERIVED", "SECONDARY", "AXIAL", *([value] if value else []))
    assert what in image_kind([header(*types, SeriesDescription=words)]).not_hu


def test_derived_images_named_after_iodine_are_a_map():
    assert image_kind([header("DERIVED", "SECONDARY", "AXIAL", SeriesDescription="Iodine")]).not_hu
    assert not image_kind([header("ORIGINAL", "PRIMARY", "AXIAL", SeriesDescription="Iodine")]).not_hu
    for words in ("MPR COR WITH IODINE", "post iodine 3 mm", "MPR apres iode"):
        assert not image_kind([header("DERIVED", "SECONDARY", "REFORMATTED", SeriesDescription=words)]).not_hu


@pytest.mark.parametrize(
    ("kernel", "is_density"), [("Sd36f", True), (["Sd40d", "3"], True), ("Br36f", False), ("SOFT", False)]
)
def test_the_kernels_of_direct_density(kernel: object, is_density: bool):
    assert ("DirectDensity" in image_kind([header(ConvolutionKernel=kernel)]).not_hu) == is_density


@pytest.mark.parametrize(
    ("types", "values", "kev"),
    [
        (["DERIVED", "PRIMARY", "AXIAL", "VMI"], {"SeriesDescription": "MonoE 140 keV"}, 140),
        (["DERIVED", "PRIMARY", "AXIAL", "VMI"], {}, None),
        (["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM15 SPI", "QUANTUM", "70KEV"], {"MultienergyCTAcquisition": "YES"}, 70),
        (["ORIGINAL", "PRIMARY", "AXIAL", "MONO_65KEV"], {}, 65),
        (["ORIGINAL", "PRIMARY", "AXIAL"], {"SeriesDescription": "Hip MonoE 70keV[HU]"}, 70),
        (["DERIVED", "SECONDARY", "AXIAL"], {"SeriesDescription": "Monoenergetic Plus 40 keV"}, 40),
        (["DERIVED", "SECONDARY", "AXIAL"], {"DerivationDescription": "mono+"}, None),
    ],
)
def test_monoenergetic_images_are_of_their_energy(types: list[str], values: dict, kev: float | None):
    kind = image_kind([header(*types, **values)])
    assert (kind.beam, kind.kev, kind.not_hu) == (Beam.MONOENERGETIC, kev, "")


def test_the_energy_of_the_standard_goes_first():
    characteristics = Dataset()
    characteristics.MonoenergeticEnergyEquivalent = 60.0
    one = header(MultienergyCTCharacteristicsSequence=[characteristics], SeriesDescription="50 keV")
    assert image_kind([one]).described == "monoenergetic at 60 keV"
    assert image_kind([characteristics, header()]).kev == 60.0  # an item of the functional groups


@pytest.mark.parametrize(
    ("types", "values"),
    [
        ([], {"MultienergyCTAcquisition": "YES"}),
        ([], {"ManufacturerModelName": "NAEOTOM Alpha"}),
        (["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM15 SPI", "QUANTUM", "T3D"], {}),
        (["DERIVED", "PRIMARY", "AXIAL", "ENERGY_PROP_WT"], {}),
    ],
)
def test_images_of_several_spectra_are_of_no_tube_voltage(types: list[str], values: dict):
    assert image_kind([header(*types, **values)]).beam is Beam.MULTI_ENERGY
    assert image_kind([header(MultienergyCTAcquisition="NO")]).beam is Beam.POLYCHROMATIC


def test_two_voltages_of_one_frame_are_several_spectra():
    low, high = Dataset(), Dataset()
    low.KVP, high.KVP = "80", "140"
    plain = Dataset()
    plain.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    assert image_kind([low, high, plain]).beam is Beam.MULTI_ENERGY
    assert image_kind([low, high, plain]).kvp is None
    assert image_kind([low, plain]).kvp == 80


@pytest.mark.parametrize("kvp", [b"", b"0", b"abc", b"120,0", b"NaN"])
def test_a_voltage_that_is_no_number_is_not_stated(kvp: bytes):
    broken = Dataset()
    broken[Tag("KVP")] = RawDataElement(Tag("KVP"), "DS", len(kvp), kvp, 0, False, True)
    assert image_kind([broken]) == PLAIN


def test_every_slice_carries_its_kind(tmp_path: Path):
    def edit(index: int, ds: Dataset) -> None:
        ds.KVP, ds.ConvolutionKernel = ("80" if index < 7 else "120"), ["Br40f", "3"]

    slices = read_series(write_ct(tmp_path, CtSpec(), edit)).slices
    assert [plane.kind.kvp for plane in slices] == [80.0] * 7 + [120.0] * 13
    assert {plane.kind.kernel for plane in slices} == {"Br40f\\3"}


def test_every_frame_carries_its_kind(tmp_path: Path):
    def edit(index: int, frame: Dataset) -> None:
        rays, types = Dataset(), Dataset()
        rays.KVP = "80" if index < 7 else "120"
        types.FrameType = ["DERIVED", "PRIMARY", "VOLUME", "VMI"]
        frame.CTXRayDetailsSequence, frame.CTImageFrameTypeSequence = [rays], [types]

    slices = read_series(write_enhanced(tmp_path, CtSpec(), edit)).slices
    assert [plane.kind.kvp for plane in slices] == [80.0] * 7 + [120.0] * 13
    assert {plane.kind.beam for plane in slices} == {Beam.MONOENERGETIC}


def test_a_map_among_the_slices_is_refused(tmp_path: Path):
    def edit(index: int, ds: Dataset) -> None:
        if index == 11:
            ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL", "MAT_SPECIFIC"]

    with pytest.raises(
        SegmenterError, match="1 of 20 images show, by their headers, no attenuation but a map of one material"
    ) as refused:
        read_series(write_ct(tmp_path, CtSpec(), edit))
    assert refused.value.reason is Reason.NOT_HU


def test_monoenergetic_images_are_told(tmp_path: Path):
    spec = CtSpec(tags={"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "VMI"], "SeriesDescription": "MonoE 50 keV"})
    warnings = read_series(write_ct(tmp_path / "vmi", spec)).warnings
    assert warnings == ("the images are monoenergetic at 50 keV: HU of bone differ from those at a tube voltage",)
    assert read_series(write_ct(tmp_path / "plain", CtSpec())).warnings == ()
