"""Texts in the character sets that senders use, as they are shown and compared with routes."""

import pytest

from node.dicom.attributes import TAGS, AttributeReader
from node.settings.types import any_match

TEXTS = {  # of PS3.5 annexes H, I, J and K, and of descriptions that scanners send
    "Japanese": (b"\\ISO 2022 IR 87", b"\x1b$B9|L)EY\x1b(B QCT", "骨密度 QCT"),
    "Japanese, half width": (b"ISO 2022 IR 13\\ISO 2022 IR 87", b"QCT \x1b$B9|\x1b(J", "QCT 骨"),
    "Korean": (b"\\ISO 2022 IR 149", b"\x1b$)C\xb0\xed\xb0\xfc\xc0\xfd QCT", "고관절 QCT"),
    "Chinese": (b"\\ISO 2022 IR 58", b"\x1b$)A\xf7\xc5\xb9\xd8\xbd\xda QCT", "髋关节 QCT"),
    "GB18030": (b"GB18030", "髋关节 QCT".encode("gb18030"), "髋关节 QCT"),
    "UTF-8": (b"ISO_IR 192", "Hüfte QCT".encode(), "Hüfte QCT"),
    "Latin-1": (b"ISO_IR 100", "Hüfte QCT".encode("latin-1"), "Hüfte QCT"),
    "Latin-1 with extensions": (b"ISO 2022 IR 100\\ISO 2022 IR 126", b"H\xfcfte \x1b-F\xe3\x1b-A QCT", "Hüfte γ QCT"),
    "an unknown set": (b"KLINGON", b"QCT \x1b$B9|", "QCT 9|"),
    "none": (b"", b"QCT hip", "QCT hip"),
}  # fmt: skip


@pytest.mark.parametrize(("names", "raw", "text"), TEXTS.values(), ids=TEXTS)
def test_a_description_is_decoded(names, raw, text):
    read = AttributeReader({TAGS["SpecificCharacterSet"]: names, TAGS["SeriesDescription"]: raw}, big_endian=False)
    assert read.text("SeriesDescription") == text
    assert any_match([f"*{text[:3]}*"], read.text("SeriesDescription"))
