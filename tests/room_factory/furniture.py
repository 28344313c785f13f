"""Where the tests look for Debian's furniture models."""

import os
from pathlib import Path

from room_factory.catalogue import SYSTEM_ROOT

FURNITURE = Path(os.environ.get("OTOC_FURNITURE", SYSTEM_ROOT))  # where sweethome3d-furniture is unpacked
