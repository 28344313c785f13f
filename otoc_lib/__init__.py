"""The One Thing One Click kit: weakly supervised 3D semantic segmentation from one click per object."""

import os

__version__ = "0.1.0"

# Threads that wait by spinning stall each other as soon as another program uses a core: steps were measured five
# times slower. Both settings are read when torch and numba are first imported, and a user's own value wins.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")
