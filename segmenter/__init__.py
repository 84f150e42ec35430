"""DICOM files in, DICOM objects out: geometry, V-Net, femora, SEG; training and synthetic patients."""
