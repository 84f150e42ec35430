"""DICOM files to one CT series and its HU, or a named refusal."""
