"""Write the page as a Secondary Capture image, for archives and viewers that show neither SEG nor SR."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from segmenter.objects.common import ResultIdentity, add_lossy_history, new_object, source_references
from segmenter.objects.labels import NOTICE
from segmenter.read.series import Series

EDGE = 90  # rows above and below the page: viewers write dates, names and window settings over an image's corners

Colour = tuple[int, int, int]


def write_sc(series: Series, identity: ResultIdentity, page: Image.Image, edge: Colour, path: Path) -> Path:
    """Write a page, with rows of the colour `edge` above and below, as an uncompressed Secondary Capture.

    PS3.3 A.8.1. The page holds no name, identifier or date of the patient; these are in the header only.
    """
    capture = new_object(series, identity, SecondaryCaptureImageStorage, "OT", "Femur picture")
    del capture.FrameOfReferenceUID, capture.PositionReferenceIndicator  # the page shows many planes
    capture.ConversionType = "WSD"
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.PatientOrientation = None  # type 2C: a page has no orientation
    capture.BodyPartExamined = "PELVIS"  # HIP would need a laterality, and the page shows both sides
    capture.BurnedInAnnotation = "NO"
    capture.RecognizableVisualFeatures = "NO"
    capture.DerivationDescription = f"Page of pictures and measurements by an algorithm, {NOTICE}"
    capture.ImageComments = NOTICE.capitalize()
    capture.SourceImageSequence = source_references(series.slices)  # the numbers on the page are of all of them
    add_lossy_history(capture, series.header)
    _add_pixels(capture, ImageOps.expand(page.convert("RGB"), (0, EDGE), edge))
    capture.save_as(path, enforce_file_format=True)
    return path


def _add_pixels(capture: Dataset, image: Image.Image) -> None:
    pixels = np.asarray(image)
    capture.Rows, capture.Columns = pixels.shape[:2]
    capture.SamplesPerPixel, capture.PhotometricInterpretation, capture.PlanarConfiguration = 3, "RGB", 0
    capture.BitsAllocated, capture.BitsStored, capture.HighBit, capture.PixelRepresentation = 8, 8, 7, 0
    data = pixels.tobytes()
    capture.PixelData = data + b"\0" * (len(data) % 2)
    capture["PixelData"].VR = "OB"
