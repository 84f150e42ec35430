"""DICOM files -> one CT series and its HU, or an error with a reason."""
