"""DICOM in and out, the ledger, the decisions and the administrators' window."""
