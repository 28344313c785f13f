"""The One Thing One Click kit: weakly supervised 3D semantic segmentation from one click per object."""

import os

__version__ = "0.1.0"

# Waiting threads of OpenMP (torch's and numba's) spin for long, and stall each other as soon as another program uses a
# core: steps were measured five times slower. A short spin costs nothing on an idle machine. The setting is read when
# torch is first imported; a user's own value wins.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
