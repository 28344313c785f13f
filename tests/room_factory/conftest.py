"""The furniture models, where they are installed."""

import pytest
from furniture import FURNITURE

from room_factory.catalogue import Catalogue


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    pytest.importorskip("trimesh", reason="needs trimesh: pip install 'otoc-kit[room-factory]'")
    if not list(FURNITURE.rglob("Scopia.sh3f")):
        pytest.skip("needs the Debian package sweethome3d-furniture (or its unpacked folder in OTOC_FURNITURE)")
    return Catalogue(FURNITURE)
