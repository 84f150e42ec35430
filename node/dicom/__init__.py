"""DICOM as bytes, on the wire and in files: no job states, settings or SQL."""
