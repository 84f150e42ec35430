"""Headers of CT images as the node reads them, for tests of its decisions."""

from node.records.instances import Header

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def image(place=(0.0, 0.0, 0.0), **other):
    values = {
        "study_uid": "1",
        "series_uid": "1.2",
        "sop_uid": "1.2.3",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "modality": "CT",
        "image_type": ("ORIGINAL", "PRIMARY", "AXIAL"),
        "frame_of_reference": "1.5",
        "rows": 512,
        "columns": 512,
        "orientation": AXIAL,
        "spacing": (0.7, 0.7),
    }
    return Header(position=place, **(values | other))


def stack(count=120, step=1.0, start=-100.0, **other):
    return [image((-170.0, -180.0, start + step * n), **other) for n in range(count)]


def localiser(**other):
    return image((0.0, 0.0, 0.0), image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"), orientation=CORONAL, **other)
