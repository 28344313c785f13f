"""Over-segmentation of rooms into super-voxels, and pooling over them."""
