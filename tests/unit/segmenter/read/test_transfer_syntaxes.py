"""Every transfer syntax of the design gives the same HU, whether pixels have a sign or not, 12 bits or 16."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from ct_factory import CtSpec, write_ct
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from segmenter.read.hounsfield import read_volume
from segmenter.read.series import read_series

STREAMS = Path(__file__).parents[3] / "data" / "htj2k"
FORMATS = {"u16": (16, 0), "s16": (16, 1), "u12": (12, 0), "s12": (12, 1)}  # bits stored, pixel representation
HIGHEST = {"u16": 33791, "s16": 32767, "u12": 4095, "s12": 2047}  # what fits into the volume's 16 bits as HU
SPEC = CtSpec(shape=(5, 64, 72), spacing=(10.0, 1.0, 1.0))


def picture(kind):
    """Numbers `(y, x)` over the whole range of a format: a ramp, with the ends in two corners."""
    low, high = -1024 if kind.startswith("s") else 0, HIGHEST[kind]
    rows, columns = np.mgrid[:64, :72]
    ramp = low + (high - low) * rows * columns // (63 * 71)
    ramp[:3, :3], ramp[-3:, -3:] = high, low
    return ramp


def write(folder, kinds):
    """Write a series whose slices are stored in the formats `kinds`, in turn; return files from below and the HU."""
    kinds = [kinds[index % len(kinds)] for index in range(SPEC.shape[0])]

    def edit(index, ds):
        kind = kinds[index]
        ds.BitsStored, ds.PixelRepresentation = FORMATS[kind]
        ds.HighBit = ds.BitsStored - 1
        ds.RescaleIntercept = "0" if ds.PixelRepresentation else "-1024"
        ds.PixelData = picture(kind).astype("<i2" if ds.PixelRepresentation else "<u2").tobytes()

    files = write_ct(folder, SPEC, edit)
    return files, np.stack([picture(kind) - (0 if kind.startswith("s") else 1024) for kind in kinds])


def dcmtk(*command):
    def encode(path, tool):
        subprocess.run([tool(command[0]), *command[1:], path, path], check=True)

    return encode


def pydicom(syntax, **options):
    def encode(path, tool):
        ds = dcmread(path)
        ds.compress(syntax, generate_instance_uid=False, **options)
        ds.save_as(path)

    return encode


def stored_stream(syntax, what):
    def encode(path, tool):
        ds = dcmread(path)
        kind = next(
            kind for kind, (bits, sign) in FORMATS.items() if (bits, sign) == (ds.BitsStored, ds.PixelRepresentation)
        )
        ds.PixelData = encapsulate([(STREAMS / f"{kind}-{what}.j2c").read_bytes()])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        ds.file_meta.TransferSyntaxUID = syntax
        ds.save_as(path)

    return encode


EXACT = {
    "implicit": (ImplicitVRLittleEndian, dcmtk("dcmconv", "+ti")),
    "big endian": (ExplicitVRBigEndian, dcmtk("dcmconv", "+tb")),
    "deflated": (DeflatedExplicitVRLittleEndian, dcmtk("dcmconv", "+td")),
    "RLE": (RLELossless, dcmtk("dcmcrle")),
    "JPEG lossless, prediction 1": (JPEGLosslessSV1, dcmtk("dcmcjpeg", "+e1")),
    "JPEG lossless, prediction 6": (JPEGLossless, dcmtk("dcmcjpeg", "+el", "+sv", "6")),
    "JPEG-LS": (JPEGLSLossless, dcmtk("dcmcjpls")),
    "JPEG 2000": (JPEG2000Lossless, pydicom(JPEG2000Lossless)),
    "HT-JPEG 2000": (HTJ2KLossless, stored_stream(HTJ2KLossless, "lossless")),
    "HT-JPEG 2000 RPCL": (HTJ2KLosslessRPCL, stored_stream(HTJ2KLosslessRPCL, "lossless")),
}


@pytest.mark.parametrize(("syntax", "encode"), EXACT.values(), ids=EXACT)
def test_lossless_syntaxes_give_every_number_of_every_format(tmp_path, tool, syntax, encode):
    files, hu = write(tmp_path, list(FORMATS))
    for path in files:
        encode(path, tool)
    assert {dcmread(path).file_meta.TransferSyntaxUID for path in files} == {syntax}
    series = read_series(files)
    assert series.warnings == ()
    assert np.array_equal(read_volume(series), hu)


# The error allowed, as a share of the range of the numbers.
WITH_LOSS = {
    "JPEG, 8 bits": (JPEGBaseline8Bit, dcmtk("dcmcjpeg", "+eb"), ["u16", "s16", "u12", "s12"], 0.1),
    "JPEG, 12 bits": (JPEGExtended12Bit, dcmtk("dcmcjpeg", "+ee"), ["u16", "s16", "u12", "s12"], 0.1),
    "JPEG-LS": (JPEGLSNearLossless, dcmtk("dcmcjpls", "+en"), ["u16", "u12"], 2 / 4095),
    "JPEG 2000": (JPEG2000, pydicom(JPEG2000, j2k_cr=[8]), list(FORMATS), 0.1),
    "HT-JPEG 2000": (HTJ2K, stored_stream(HTJ2K, "lossy"), list(FORMATS), 0.1),
}


@pytest.mark.parametrize(("syntax", "encode", "kinds", "error"), WITH_LOSS.values(), ids=WITH_LOSS)
def test_syntaxes_with_loss_are_read_and_said_to_be(tmp_path, tool, syntax, encode, kinds, error):
    files, hu = write(tmp_path, kinds)
    for path in files:
        encode(path, tool)
        ds = dcmread(path)
        ds.LossyImageCompression = "01"
        ds.save_as(path)
    assert {dcmread(path).file_meta.TransferSyntaxUID for path in files} == {syntax}
    series = read_series(files)
    assert series.warnings == ("5 of 5 slices were compressed with loss: densities may be wrong",)
    off = np.abs(read_volume(series) - hu) / np.ptp(hu, axis=(1, 2), keepdims=True)
    assert off.max() <= error
    assert off.mean() <= 0.01


@pytest.mark.parametrize("name", ["JPEG, 8 bits", "JPEG-LS"])
def test_a_syntax_that_always_loses_is_said_to_lose_even_where_the_header_is_silent(tmp_path, tool, name):
    _, encode, kinds, _ = WITH_LOSS[name]
    files, _ = write(tmp_path, kinds)
    for path in files:
        encode(path, tool)
        ds = dcmread(path)
        ds.pop("LossyImageCompression", None)
        ds.save_as(path)
    assert "compressed with loss" in read_series(files).warnings[0]
