"""DICOM in and out, the ledger, the decisions, the command line and the web page."""
