"""The SEG in OHIF: the names in the panel, and both colours on the right femur and the left one."""

import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import httpx
import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk  # noqa: N813
from browser import running_browser
from findings_factory import findings, phantom
from ohif import running_viewer, viewer_files
from ohif_canvas import Image, faults, page_faults
from ohif_window import FLAGS, OhifWindow
from orthanc import DICOMWEB, running_orthanc
from pydicom import dcmread
from pydicom.uid import generate_uid
from scipy.ndimage import map_coordinates

from node.scu.storage import send_files
from segmenter.objects.common import ResultIdentity
from segmenter.objects.labels import LABELS
from segmenter.objects.seg import write_labelmap, write_seg
from segmenter.output.outputs import OutputOptions, SegmentedSeries, write_reports, write_segmentations
from segmenter.read.hounsfield import read_volume
from segmenter.read.series import read_series
from segmenter.synth.series import SyntheticSeriesOptions, write_synthetic_series
from segmenter.volume.femur import Femur, Side

PATIENT = SyntheticSeriesOptions(seed=8, slices=28, size=256, slice_step_mm=3.5)
IDENTITY = ResultIdentity("femur-vnet", "1.2.3", "ab" * 32, "cd" * 32, datetime(2026, 1, 2, 8, 9, 10))
# This version of Orthanc does not know label maps; the same option makes it accept them.
OPTIONS = {"Plugins": [DICOMWEB], "UnknownSopClassAccepted": True}


class Patient:
    """A series, its true masks on its own grid, and the InstanceNumber of each slice."""

    def __init__(self, files, masks):
        self.files, self.masks = files, masks
        self.series = read_series(files)
        headers = [dcmread(file, stop_before_pixels=True) for file in files]
        numbers = {header.SOPInstanceUID: int(header.InstanceNumber) for header in headers}
        self.numbers = [numbers[uid] for uid in self.series.instance_uids]

    def best_slice(self):
        """Return the slice in which the smaller of the two femurs is largest."""
        return int(np.argmax(np.min([mask.sum(axis=(1, 2)) for mask in self.masks.values()], axis=0)))

    def image(self, index):
        """Return a slice as a viewer first shows it, with the window of its header."""
        centre, width = (float(self.series.header[key].value) for key in ("WindowCenter", "WindowWidth"))
        grey = np.clip((read_volume(self.series)[index] - centre) / width + 0.5, 0, 1)
        masks = {side: mask[index] for side, mask in self.masks.items()}
        return Image(grey, self.series.geometry.spacing[1:], masks)

    def in_coronal_slices(self, folder):
        """Write the same patient as another study, in coronal slices from front to back, one of every four rows."""
        template, volume = dcmread(self.files[0]), read_volume(self.series)[:, ::4]
        (z, y, x), origin = self.series.geometry.spacing * np.array([1, 4, 1]), self.series.geometry.affine[:3, 3]
        template.StudyInstanceUID, template.SeriesInstanceUID = generate_uid(), generate_uid()
        template.FrameOfReferenceUID = generate_uid()
        template.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        template.PixelSpacing, template.SliceThickness = [z, x], y
        template.Rows, template.Columns = volume.shape[0], volume.shape[2]
        folder.mkdir()
        for index in range(volume.shape[1]):
            template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            template.InstanceNumber = index + 1
            top = origin + np.array([0, index * y, (volume.shape[0] - 1) * z])
            template.ImagePositionPatient = [f"{value:.6f}" for value in top]
            stored = (volume[::-1, index] - template.RescaleIntercept) / template.RescaleSlope
            template.PixelData = np.rint(stored).astype("<u2").tobytes()
            template.save_as(folder / f"{index:03d}.dcm", enforce_file_format=True)
        masks = {side: np.moveaxis(mask[::-1, ::4], 1, 0) for side, mask in self.masks.items()}
        return Patient(sorted(folder.iterdir()), masks)


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patient") / "synthetic"
    files = sorted(write_synthetic_series(PATIENT, folder).iterdir())
    truth = {side: sitk.ReadImage(str(folder / "truth" / f"{side}.nii.gz")) for side in Side}
    return Patient(files, {side: sitk.GetArrayFromImage(image) > 0 for side, image in truth.items()})


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory, free_port, tool, poll):
    program = tool("Orthanc")
    if not Path(DICOMWEB).exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{DICOMWEB} is not installed")
    folder, ports = tmp_path_factory.mktemp("archive") / "orthanc", (free_port(), free_port())
    with running_orthanc(program, folder, ports, poll, **OPTIONS) as running:
        yield running


@pytest.fixture
def archive(orthanc):
    """The archive, empty at the beginning and at the end."""
    yield orthanc
    orthanc.clear()


@pytest.fixture(scope="module")
def address(tmp_path_factory, orthanc, free_port, tool, poll):
    """The address of the viewer, with the archive behind it."""
    nginx, viewer = tool("nginx"), viewer_files(tool("npm"))
    folder, ports = tmp_path_factory.mktemp("viewer") / "nginx", (free_port(), orthanc.http_port)
    with running_viewer(nginx, viewer, folder, ports, poll) as running:
        yield running


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with running_browser(tmp_path_factory.mktemp("browser"), *FLAGS) as running:
        yield running


@pytest.fixture
def window(browser, address, poll):
    yield OhifWindow(browser, poll)
    browser.forget(address)


def painted(image, scale=1.0, size=(421, 538)):
    """Return a canvas as a viewer paints it: the image in the centre, the colours half transparent."""
    axes = (
        (np.arange(side) - (side - 1) / 2) / (scale * step) + (pixels - 1) / 2
        for side, step, pixels in zip(size, image.spacing, image.grey.shape, strict=True)
    )
    places = np.meshgrid(*axes, indexing="ij")
    canvas = np.repeat(map_coordinates(image.grey * 255, places, order=1)[..., None], 3, axis=-1)
    for side, mask in image.masks.items():
        inside = map_coordinates(mask.astype(float), places, order=0) > 0
        canvas[inside] = 0.5 * canvas[inside] + 0.5 * np.array(LABELS[side].rgb)
    return canvas


def test_the_comparison_detects_wrong_pictures(patient):
    index = patient.best_slice()
    image = patient.image(index)
    left, right = image.masks[Side.LEFT], image.masks[Side.RIGHT]
    good = painted(image)
    assert faults(good, image) == []
    for wrong in (
        good[:, ::-1],
        good[::-1],
        np.roll(good, 6, axis=1),
        painted(replace(image, masks={Side.LEFT: right, Side.RIGHT: left})),
        painted(replace(image, masks={Side.LEFT: left})),
        painted(replace(image, masks={side: mask[:, ::-1] for side, mask in image.masks.items()})),
        painted(replace(image, masks={side: np.roll(mask, 1, axis=0) for side, mask in image.masks.items()})),
        painted(replace(image, grey=patient.image(index + 2).grey)),
    ):
        assert faults(wrong, image) != []


def test_the_sample_configuration_is_read_only(address):
    page = httpx.get(f"{address}/viewer")
    assert "app-config.js" in page.text
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert "sourceName: 'orthanc'" in httpx.get(f"{address}/app-config.js").text
    for method in ("POST", "PUT", "DELETE"):
        assert httpx.request(method, f"{address}/dicom-web/studies").status_code == 403
    assert httpx.get(f"{address}/system").text == page.text  # only the DICOMweb interface of the archive can be reached


def look_at_both_femurs(window, shown, top):
    """Check names, side letters and colours in the slice that shows most of both femurs."""
    assert window.segments()[-2:] == ["Left proximal femur", "Right proximal femur"]
    assert (window.side_letter("left"), window.side_letter("top")) == ("R", top)
    index = shown.best_slice()
    window.go_to_image(shown.numbers[index], shown.numbers[::-1])
    image = shown.image(index)
    window.wait_until_drawn(lambda canvas: faults(canvas, image))


@pytest.mark.timeout(900)
def test_a_reader_sees_both_femurs_on_their_bone_and_the_page(tmp_path, patient, archive, address, window):
    femurs = tuple(Femur(side, mask, complete=True) for side, mask in patient.masks.items())
    run = SegmentedSeries(patient.series, read_volume(patient.series), femurs, IDENTITY)
    segs = write_segmentations(run, OutputOptions(), tmp_path)
    results = write_reports(run, findings(phantom(), *Side), segs, OutputOptions(), tmp_path)
    assert all(sent.ok for sent in send_files(archive.peer, [*patient.files, *results.objects], "QCTNODE"))

    with window.evidence(tmp_path / "ohif.png"):
        window.open_study(address, patient.series.study_uid, ["CT", "SEG", "SR", "OT"])
        window.open_segmentation()
        assert len(window.segments()) == 2
        look_at_both_femurs(window, patient, top="A")
    page = PIL.Image.fromarray(dcmread(tmp_path / "sc.dcm").pixel_array)
    with window.evidence(tmp_path / "ohif-page.png"):
        window.open_series("OT")
        window.wait_until_drawn(lambda canvas: page_faults(canvas, page))
        assert window.errors() == []


@pytest.mark.timeout(900)
def test_a_series_in_coronal_slices_is_not_flipped(tmp_path, patient, archive, address, window):
    shown = patient.in_coronal_slices(tmp_path / "coronal")
    seg = write_seg(shown.series, shown.masks, IDENTITY, tmp_path / "seg.dcm")
    assert all(sent.ok for sent in send_files(archive.peer, [*shown.files, seg], "QCTNODE"))
    with window.evidence(tmp_path / "ohif.png"):
        window.open_study(address, shown.series.study_uid, ["CT", "SEG"])
        window.open_segmentation()
        look_at_both_femurs(window, shown, top="H")
        assert window.errors() == []


@pytest.mark.timeout(900)
def test_a_label_map_is_shown_like_the_segmentation(tmp_path, patient, archive, address, window):
    labels = write_labelmap(patient.series, patient.masks, IDENTITY, tmp_path / "labelmap.dcm")
    assert all(sent.ok for sent in send_files(archive.peer, [*patient.files, labels], "QCTNODE"))
    with window.evidence(tmp_path / "ohif.png"):
        window.open_study(address, patient.series.study_uid, ["CT", "SEG"])
        window.open_segmentation()
        assert window.segments()[0] == "Background"  # label 0 is in the list, too
        look_at_both_femurs(window, patient, top="A")
        assert window.errors() == []
