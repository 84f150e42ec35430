"""DICOM files in, DICOM objects out: geometry, V-Net, femurs, SEG; training and synthetic patients."""
