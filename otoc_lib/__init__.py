"""The One Thing One Click kit: weakly supervised 3D semantic segmentation from one click per object."""

__version__ = "0.1.0"
