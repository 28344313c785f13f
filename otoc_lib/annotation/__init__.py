"""Clicks: simulated or read, written, and spread over super-voxels."""
