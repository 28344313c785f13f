"""Over-segmentation of rooms into super-voxels."""
