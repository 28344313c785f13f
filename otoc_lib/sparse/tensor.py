"""Features on the occupied voxels of a batch of rooms."""

from torch import Tensor

from otoc_lib.errors import OtocError
from otoc_lib.sparse.maps import Pyramid


class SparseTensor:
    """Features of V occupied voxels at one level of a pyramid.

    Args:
        features: float [V, C].
        coords: integer [V, 4] (batch, x, y, z) on the same device; see Pyramid for what is refused.
        spatial_shape: cells along x, y, z.
        batch_size: rooms in the batch.
        backend: what computes on these voxels, as for Pyramid.
    """

    def __init__(
        self,
        features: Tensor,
        coords: Tensor,
        spatial_shape: tuple[int, int, int],
        batch_size: int,
        backend: str = "auto",
    ):
        self._place(features, Pyramid(coords, spatial_shape, batch_size, backend), level=0)

    @classmethod
    def on(cls, pyramid: Pyramid, features: Tensor, level: int = 0) -> "SparseTensor":
        """Features [V, C] on the voxels of an existing pyramid, whose kernel maps are reused."""
        tensor = cls.__new__(cls)
        tensor._place(features, pyramid, level)
        return tensor

    def _place(self, features: Tensor, pyramid: Pyramid, level: int) -> None:
        voxels = len(pyramid.level(level).coords)
        if features.ndim != 2 or len(features) != voxels or not features.is_floating_point():
            raise OtocError(f"features: expected float [{voxels}, C], got {features.dtype} {tuple(features.shape)}")
        self.features = features
        self.pyramid = pyramid
        self.level = level

    def with_features(self, features: Tensor) -> "SparseTensor":
        """Other features [V, C'] on the same voxels, sharing the kernel maps."""
        return SparseTensor.on(self.pyramid, features, self.level)

    @property
    def coords(self) -> Tensor:
        """int32 [V, 4] (batch, x, y, z)."""
        return self.pyramid.level(self.level).coords

    @property
    def spatial_shape(self) -> tuple[int, int, int]:
        return self.pyramid.level(self.level).spatial_shape

    @property
    def batch_size(self) -> int:
        return self.pyramid.batch_size
