"""All files of a run: DICOM objects, page, mesh and report.json."""
