"""The DICOM objects of a result (SEG, SR, SC) and the check that reads the SEG back."""
