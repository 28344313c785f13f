"""Training and inference of the two networks: augmentation, voxel batches, the fit loop, prediction."""
