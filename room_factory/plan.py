"""The plan of a room: its shell, what stands in it and where; nothing intersects anything else.

A room is of one kind or of two (bathroom, kitchen, bedroom, living room, office, meeting room, library, storage); the
kinds come about as often as in ScanNet. Its outline is a rectangle or has corners cut out of it. Furniture stands
against walls or around tables; small things lie on tops and on the floor; doors, windows, pictures and curtains hang on
walls. Intersections are tested on axis-aligned boxes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import ConvexHull

from otoc_lib.datasets.bundled_rooms import CATEGORIES
from otoc_lib.labels import SCANNET20
from room_factory import clutter, shapes
from room_factory.catalogue import Catalogue
from room_factory.selection import NOVEL, SHARED
from room_factory.triangles import Mesh


@dataclass(frozen=True)
class Kind:
    """What a room is for and what it must hold beside; ``shape`` is its outline."""

    parts: tuple[str, ...]
    area: float  # m2 of the floor
    shape: str = "rectangle"  # or "corner", "alcove", "pillar": what is cut out of the rectangle
    door: bool = True
    window: bool = True
    curtains: bool = False
    pictures: int = 0


# One round of rooms. Over a round every class occurs in about as many rooms as in ScanNet, the rarest in three.
KINDS = (
    Kind(("bath",), 6.0, window=False),
    Kind(("office", "office"), 11.0, "corner"),
    Kind(("living",), 11.5, "alcove", curtains=True, pictures=2),
    Kind(("meeting",), 12.5),
    Kind(("kitchen", "dining"), 11.0, "corner", door=False),
    Kind(("bed",), 9.5, curtains=True, pictures=1),
    Kind(("library",), 9.0, window=False),
    Kind(("office", "library"), 11.0, "pillar", door=False),
    Kind(("bath",), 6.5, "pillar", window=False),
    Kind(("living", "kitchen"), 13.0, "corner", pictures=1),
    Kind(("bed", "office"), 11.5, "corner", curtains=True),
    Kind(("storage",), 8.5, window=False),
    Kind(("meeting",), 11.0, "corner", door=False, window=False),
    Kind(("kitchen", "dining"), 10.5, pictures=1),
    Kind(("bath",), 5.5, door=False, window=False),
    Kind(("living", "dining"), 13.0, "corner", pictures=2),
    Kind(("office",), 8.5, window=False),
    Kind(("bed", "living"), 13.0, "alcove", curtains=True, pictures=1),
    Kind(("washroom",), 5.0, window=False),
    Kind(("office", "meeting"), 13.0, door=False),
    Kind(("bed",), 9.0, "pillar", door=False, window=False),
    Kind(("living", "library"), 11.0, door=False, window=False, pictures=1),
    Kind(("kitchen",), 8.0, window=False),
    Kind(("bed", "office"), 11.0),
)
# four rooms of novel furniture that hold every class between them
NOVEL_KINDS = (
    Kind(("bath", "bed"), 12.0, curtains=True, pictures=1),
    Kind(("kitchen", "living"), 13.0, "corner", pictures=1),
    Kind(("bath", "office", "library"), 13.0, curtains=True, pictures=1),
    Kind(("kitchen", "dining", "bed"), 14.0, "alcove", curtains=True, pictures=1),
)
NEEDED = {
    "bath": {"bathtub", "shower curtain", "toilet", "sink"},
    "washroom": {"toilet", "sink"},
    "kitchen": {"kitchen counter", "refrigerator"},
    "dining": {"dining table", "chair"},
    "bed": {"bed"},
    "living": {"couch"},
    "office": {"desk"},
    "meeting": {"meeting table", "chair"},
    "library": {"bookshelf"},
    "storage": {"shelf"},
}
ANGLES = (np.pi, -np.pi / 2, 0.0, np.pi / 2)  # that turn a model's back to the south, east, north and west wall
GAP = 0.015  # metres between furniture and wall
FREE = np.array([0.01, 0.01, 0.0])  # metres between pieces of furniture
SHELL = ("wall", "floor", "rug")  # what other things may touch
OVERLAP = 0.002  # boxes that share less than this do not intersect
UNANNOTATED = 0.2  # of the small things, as annotators leave some out


@dataclass(frozen=True)
class Placed:
    """One object in the room; ``host`` is the index of what it is set into or rests on, else -1."""

    category: str
    model: str  # id of the catalogue model, "" if parametric
    mesh: Mesh
    host: int = -1
    annotated: bool = True

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        return self.mesh.lower, self.mesh.upper


@dataclass(frozen=True)
class Edge:
    """A straight piece of wall, seen from inside: to the south (side 0), east, north or west (3) of the room.

    It lies at ``at`` and runs from ``low`` to ``high`` along the other axis, all in metres.
    """

    side: int
    at: float
    low: float
    high: float

    @property
    def length(self) -> float:
        return self.high - self.low

    @property
    def inward(self) -> np.ndarray:
        """Unit vector (2,) from the wall into the room."""
        return np.array([(0.0, 1.0), (-1.0, 0.0), (0.0, -1.0), (1.0, 0.0)][self.side])

    def point(self, along: float) -> np.ndarray:
        """The point (2,) on the floor at the wall."""
        return np.array([along, self.at] if self.side % 2 == 0 else [self.at, along])


@dataclass
class Plan:
    """A room: x in 0..width, y in 0..depth, z in 0..height, less ``blocks``; of its objects the shell comes first."""

    width: float
    depth: float
    height: float
    objects: list[Placed] = field(default_factory=list)
    clear: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # boxes kept free, in front of doors
    blocks: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # boxes cut out of the room, full height

    def contains(self, lower: np.ndarray, upper: np.ndarray) -> bool:
        """Whether a box lies in the room."""
        if (lower < -OVERLAP).any() or (upper > np.array([self.width, self.depth, self.height]) + OVERLAP).any():
            return False
        return not any(boxes_meet((lower, upper), block) for block in self.blocks)

    def fits(self, lower: np.ndarray, upper: np.ndarray, host: int = -1) -> bool:
        """Whether a box lies in the room and meets no object but ``host`` and no box that is kept free."""
        if not self.contains(lower, upper):
            return False
        solid = [thing.box for i, thing in enumerate(self.objects) if thing.category not in SHELL and i != host]
        boxes = np.array([*self.clear, *solid]).reshape(-1, 2, 3)
        shared = np.minimum(upper, boxes[:, 1]) - np.maximum(lower, boxes[:, 0])  # [B, 3]
        return not (shared > OVERLAP).all(axis=1).any()

    @property
    def furniture(self) -> list[Placed]:
        return [thing for thing in self.objects if thing.category not in SHELL]

    def edges(self) -> list[Edge]:
        """The walls around the room, straight piece by straight piece."""
        xs = np.unique([0.0, self.width, *(float(corner[0]) for block in self.blocks for corner in block)])
        ys = np.unique([0.0, self.depth, *(float(corner[1]) for block in self.blocks for corner in block)])
        xs, ys = (values[np.diff(values, prepend=-1.0) > 1e-6] for values in (xs, ys))  # equal but for rounding
        middle = np.stack(np.meshgrid((xs[1:] + xs[:-1]) / 2, (ys[1:] + ys[:-1]) / 2, indexing="ij"), -1)
        solid = np.zeros(middle.shape[:2], bool)
        for lower, upper in self.blocks:
            solid |= ((middle > lower[:2]) & (middle < upper[:2])).all(axis=-1)
        solid = np.pad(solid, 1, constant_values=True)
        found = []
        for side, (i, j) in enumerate(((0, -1), (1, 0), (0, 1), (-1, 0))):
            beyond = np.roll(solid, (-i, -j), (0, 1))  # whether the neighbour on that side is solid
            bounds = ~solid & beyond
            lines, places, along = (bounds.T, ys, xs) if side % 2 == 0 else (bounds, xs, ys)
            for number, line in enumerate(lines[1:-1]):
                at = float(places[number + (side in (1, 2))])
                starts = np.flatnonzero(line[1:-1] & ~line[:-2])
                ends = np.flatnonzero(line[1:-1] & ~line[2:]) + 1
                found += [Edge(side, at, float(along[a]), float(along[b])) for a, b in zip(starts, ends, strict=True)]
        return found


def boxes_meet(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether two boxes share more than OVERLAP along every axis."""
    return bool(((np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])) > OVERLAP).all())


def intersections(plan: Plan) -> list[tuple[str, str]]:
    """Pairs of furniture whose boxes intersect (what rests on or in its host may), and what leaves the room."""
    found = []
    objects = plan.objects
    for i, a in enumerate(objects):
        if a.category in SHELL:
            continue
        if not plan.contains(*a.box):
            found.append((a.category, "wall"))
        for j in range(i):
            b = objects[j]
            if b.category not in SHELL and a.host != j and boxes_meet(a.box, b.box):
                found.append((a.category, b.category))
    return found


def make_plan(catalogue: Catalogue, seed: int, split: str, index: int) -> Plan:
    """The plan of room ``index`` of a split; the same arguments give the same plan."""
    stream = {"train": 0, "val": 1, "val_novel": 2, "test": 3}[split]
    novel = split == "val_novel"
    kinds = NOVEL_KINDS if novel else KINDS
    kind = kinds[index * (7 if split == "test" else 1) % len(kinds)]  # twelve test rooms: a mixture
    for attempt in range(40):
        rng = np.random.default_rng([seed, stream, index, attempt])
        builder = _Builder(catalogue, rng, novel, kind)
        plan = builder.build()
        if builder.complete() and not intersections(plan):
            return plan
    raise RuntimeError(f"no plan with everything a {'/'.join(kind.parts)} needs for {split} room {index}, seed {seed}")


def upper_surface(mesh: Mesh, step: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Where something may rest on a mesh: the lowest corner (2,) of a grid and the heights [R, S], -inf where empty."""
    rng = np.random.default_rng(0)
    corners = mesh.vertices[mesh.faces].astype(np.float64)  # [F, 3, 3]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    face = rng.choice(len(corners), 40_000, p=area / area.sum())
    a, b = rng.random((2, len(face)))
    a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
    points = corners[face, 0] + a[:, None] * (corners[face, 1] - corners[face, 0])
    points += b[:, None] * (corners[face, 2] - corners[face, 0])
    origin = mesh.lower[:2].astype(np.float64)
    cell = ((points[:, :2] - origin) / step).astype(int)
    heights = np.full(cell.max(axis=0) + 1, -np.inf)
    np.maximum.at(heights, tuple(cell.T), points[:, 2])
    return origin, heights


def outline_of(mesh: Mesh) -> np.ndarray:
    """The corners [H, 2] of a mesh's convex outline from above: all that turning it needs."""
    flat = mesh.vertices[:, :2].astype(np.float64)
    return flat[ConvexHull(flat).vertices]


def outline_box(outline: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest corner (2,) of an outline turned by an angle in radians."""
    c, s = np.cos(angle), np.sin(angle)
    turned = outline @ np.array([[c, s], [-s, c]])
    return turned.min(axis=0), turned.max(axis=0)


class _Builder:
    def __init__(self, catalogue: Catalogue, rng: np.random.Generator, novel: bool, kind: Kind):
        self.catalogue, self.rng, self.novel, self.kind = catalogue, rng, novel, kind
        area, ratio = kind.area * rng.uniform(1.05, 1.35), rng.uniform(0.75, 1.35)
        if kind.shape in ("corner", "alcove"):
            area *= 1.15  # before the cut
        width, depth = np.sqrt(area * ratio), np.sqrt(area / ratio)
        self.plan = Plan(float(width), float(depth), rng.uniform(2.3, 2.6))
        self.plan.blocks = self.cut()
        self.edges = self.plan.edges()
        self.edge_of: dict[int, Edge] = {}  # what stands or hangs at a wall
        self.surfaces: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # what other things may rest on

    def cut(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The boxes cut out of the rectangle: a corner, two corners beside an alcove, or a pillar in a wall."""
        rng, plan = self.rng, self.plan
        size = np.array([plan.width, plan.depth])

        def corner(east: bool, north: bool, extent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            place = np.array([east, north]) * (size - extent)
            return np.array([*place, 0.0]), np.array([*(place + extent), plan.height])

        flip = rng.random(2) < 0.5
        if self.kind.shape == "corner":
            return [corner(*flip, size * rng.uniform(0.28, 0.45, 2))]
        if self.kind.shape == "alcove":
            deep = rng.uniform(0.5, 0.8)
            extents = [np.array([plan.width * rng.uniform(0.18, 0.3), deep]) for _ in range(2)]
            return [corner(east, flip[0], extent) for east, extent in zip((False, True), extents, strict=True)]
        if self.kind.shape == "pillar":
            low, high = corner(False, flip[0], rng.uniform([0.35, 0.2], [0.6, 0.4]))
            shift = np.array([rng.uniform(0.3, 0.7) * (plan.width - 0.5), 0.0, 0.0])
            return [(low + shift, high + shift)]
        return []

    def complete(self) -> bool:
        """Whether the room holds what its kind needs, and not too many objects to click."""
        present = {thing.category for thing in self.plan.objects}
        needed = set().union(*(NEEDED[part] for part in self.kind.parts))
        needed |= {"door"} if self.kind.door else set()
        needed |= {"window"} if self.kind.window else set()
        needed |= {"curtain"} if self.kind.curtains else set()
        needed |= {"picture"} if self.kind.pictures else set()
        return needed <= present and 5 <= self.counted() <= 24

    def counted(self) -> int:
        """Objects to click, beside the shell."""
        return sum(CATEGORIES[thing.category][0] in SCANNET20.file_ids for thing in self.plan.furniture)

    def build(self) -> Plan:
        plan, rng = self.plan, self.rng
        self.shell()
        if self.kind.door:
            for _ in range(10):
                if self.hang("door"):
                    break
        pending = [getattr(self, name)() for name in self.kind.parts]
        if self.kind.curtains:
            self.window(with_curtains=True)
        for part in pending:  # the large pieces of every function before the small ones of any
            next(part)
        for part in pending:
            next(part, None)
        if self.kind.window:
            for _ in range(rng.integers(1, 4) - int(self.kind.curtains)):
                self.window()
        for _ in range(self.kind.pictures + rng.integers(0, 2) if self.kind.pictures else 0):
            self.hang("picture")
        self.filler()
        self.clutter()
        return plan

    # --- the parts of a room; each yields once, when its large pieces stand

    def shell(self) -> None:
        rng, plan = self.rng, self.plan
        paint = [(225, 220, 205), (215, 222, 228), (235, 228, 200), (205, 220, 205), (228, 210, 200), (222, 222, 222)]
        color = shapes.pick(rng, paint)
        tiles = bool({"bath", "washroom"} & set(self.kind.parts)) and rng.random() < 0.6
        ground = shapes.floor(rng, plan.width, plan.depth)
        centre = ground.vertices[ground.faces].mean(axis=1)[:, :2]
        kept = np.ones(len(centre), bool)
        for lower, upper in plan.blocks:
            kept &= ~((centre > lower[:2] + 0.03) & (centre < upper[:2] - 0.03)).all(axis=1)
        plan.objects.append(Placed("floor", "", Mesh(ground.vertices, ground.faces[kept], ground.colors)))
        for edge in self.edges:
            mesh = shapes.wall(rng, edge.length, plan.height, color, tiles).moved((-edge.length / 2, 0, 0))
            place = edge.point((edge.low + edge.high) / 2)
            plan.objects.append(Placed("wall", "", mesh.turned(ANGLES[edge.side]).moved((*place, 0))))

    def bath(self) -> Iterator[None]:
        rng = self.rng
        tub_mesh, tub_model = self.choose("bathtub", 0.6, lambda: shapes.bathtub(rng, self.novel))
        edge = self.against_wall("bathtub", tub_mesh, tub_model, corner=True, tries=80)
        if edge is not None:
            tub = self.plan.objects[-1]
            sheet = shapes.shower_curtain(rng, tub_mesh.size[0], self.novel)
            # it hangs just outside the tub's free long side, from above the floor to the rod
            lower, upper = tub.box
            reach = tub_mesh.size[1] / 2 + sheet.size[1] / 2 + 0.012
            place = ((lower + upper) / 2)[:2] + edge.inward * reach
            self.put("shower curtain", "", sheet.turned(ANGLES[edge.side]), (*place, rng.uniform(0.38, 0.46)))
        yield
        yield from self.washroom()

    def washroom(self) -> Iterator[None]:
        rng = self.rng
        toilet, model = self.choose("toilet", 0.5, None if self.novel else lambda: shapes.toilet(rng))
        self.against_wall("toilet", toilet, model, near="bathtub", tries=60)
        if rng.random() < 0.6:
            self.against_wall("sink", *self.choose("sink", 0.0, None), near="toilet", tries=60)
        else:
            self.worktop("bathroom vanity", rng.uniform(0.75, 1.0))
        if "bath" not in self.kind.parts:
            yield
        for _ in range(rng.integers(1, 3)):
            self.hang("towel")
        for category, chance in (("washing machine", 0.5), ("laundry basket", 0.5), ("radiator", 0.4)):
            if rng.random() < chance:
                self.against_wall(category, *self.choose(category, 0.0, None))
        for _ in range(2):
            self.rest("bathroom vanity", "bottle", clutter.bottle(rng))

    def kitchen(self) -> Iterator[None]:
        rng = self.rng
        refrigerator = self.choose("refrigerator", 0.6, lambda: shapes.refrigerator(rng, self.novel))
        self.worktop("kitchen counter", rng.uniform(1.3, 1.9))
        self.against_wall("refrigerator", *refrigerator, near="kitchen counter")
        yield
        if rng.random() < 0.5:
            self.against_wall("stove", *self.choose("stove", 0.0, None), near="kitchen counter")
        if rng.random() < 0.7:
            for _ in range(rng.integers(1, 4)):
                self.hang("kitchen cabinet")
        for category in ("microwave", "coffee maker", "bottle", "bottle", "bottle", "box", "bag", "bottle"):
            if rng.random() < 0.8:
                self.rest("kitchen counter", category)
        for _ in range(2):
            self.rest("refrigerator", "box")
        if "dining" not in self.kind.parts and rng.random() < 0.5:
            self.table_and_chairs("dining table", rng.integers(1, 4))

    def dining(self) -> Iterator[None]:
        self.table_and_chairs("dining table", self.rng.integers(3, 6))
        yield
        self.settle("dining table", ("bottle", "books", "box", "plant", "laptop", "clothes"), 5)

    def meeting(self) -> Iterator[None]:
        rng = self.rng
        self.table_and_chairs("meeting table", rng.integers(5, 9) if len(self.kind.parts) == 1 else rng.integers(2, 5))
        yield
        self.hang("whiteboard")
        self.settle("meeting table", ("laptop", "books", "bottle", "bag", "monitor", "box", "bottle"), 6)
        for _ in range(rng.integers(2, 5) if len(self.kind.parts) == 1 else 1):
            self.anywhere("chair", *self.choose("chair", 0.0, None))
        if rng.random() < 0.3:
            self.against_wall("water cooler", *self.choose("water cooler", 0.0, None))
        if rng.random() < 0.5:
            self.hang("tv")

    def bedroom_things(self) -> None:
        rng = self.rng
        self.settle("bed", ("pillow", "clothes", "pillow", "bag", "toy", "pillow", "books", "clothes"), 6)
        for _ in range(rng.integers(1, 3)):
            if self.against_wall("nightstand", *self.choose("nightstand", 0.0, None), near="bed") is not None:
                self.settle("nightstand", ("lamp", "books", "bottle"), 2)

    def bed(self) -> Iterator[None]:
        rng = self.rng
        self.against_wall("bed", *self.choose("bed", 0.0, None), tries=120)
        yield
        self.bedroom_things()
        if rng.random() < 0.65:
            self.against_wall("wardrobe", *self.choose("wardrobe", 0.0, None))
        if rng.random() < 0.6:
            if self.against_wall("dresser", *self.choose("dresser", 0.0, None)) is not None:
                self.settle("dresser", ("tv", "lamp", "books", "bottle", "toy", "clothes"), 3)
        if rng.random() < 0.5:
            self.against_wall("laundry basket", *self.choose("laundry basket", 0.0, None))

    def living(self) -> Iterator[None]:
        rng = self.rng
        edge = self.against_wall("couch", *self.choose("couch", 0.0, None), tries=120)
        sofa = self.plan.objects[-1]
        if edge is not None:
            mesh, model = self.choose("coffee table", 0.0, None)
            lower, upper = sofa.box
            reach = np.abs(edge.inward) @ (upper - lower)[:2] / 2 + rng.uniform(0.25, 0.45) + mesh.size[1] / 2
            centre = ((lower + upper) / 2)[:2] + edge.inward * reach
            self.put("coffee table", model, mesh.turned(ANGLES[edge.side]), (*centre, 0))
        yield
        self.settle("couch", ("pillow", "pillow", "clothes", "pillow", "bag", "pillow"), 5)
        self.settle("coffee table", ("books", "bottle", "laptop", "plant", "box", "bottle"), 4)
        if rng.random() < 0.75:
            if self.against_wall("cabinet", *self.choose("cabinet", 0.0, None)) is not None:
                self.settle("cabinet", ("tv", "speaker", "plant", "books", "lamp"), 3)
        for category, chance in (("armchair", 0.8), ("armchair", 0.4), ("ottoman", 0.45), ("piano", 0.15)):
            if rng.random() < chance:
                self.against_wall(category, *self.choose(category, 0.0, None), near="couch")

    def office(self) -> Iterator[None]:
        rng = self.rng
        for _ in range(1 if len(self.kind.parts) > 1 else 2):
            edge = self.against_wall("desk", *self.choose("desk", 0.0, None), tries=120)
            if edge is None:
                continue
            lower, upper = self.plan.objects[-1].box
            mesh, model = self.choose(("office chair", "chair")[int(rng.random() < 0.3)], 0.0, None)
            reach = np.abs(edge.inward) @ (upper - lower)[:2] / 2 + rng.uniform(0.04, 0.2) + mesh.size[1] / 2
            place = ((lower + upper) / 2)[:2] + edge.inward * reach
            self.put("office chair", model, mesh.turned(ANGLES[edge.side] + np.pi), (*place, 0))
        yield
        for host in self.count("desk"):
            self.settle(host, ("monitor", "books", "laptop", "lamp", "printer", "bottle", "box", "monitor"), 6)
        for _ in range(rng.integers(1, 3)):
            if rng.random() < 0.6 and self.against_wall("file cabinet", *self.choose("file cabinet", 0.0, None)):
                self.settle("file cabinet", ("printer", "books", "box", "plant"), 2)
        if rng.random() < 0.4:
            self.hang("whiteboard")
        if rng.random() < 0.6:
            self.anywhere("chair", *self.choose("chair", 0.0, None))

    def library(self) -> Iterator[None]:
        rng = self.rng
        for _ in range(rng.integers(2, 5) if len(self.kind.parts) == 1 else rng.integers(1, 3)):
            own = lambda: shapes.bookshelf(rng, self.novel)  # noqa: E731
            self.against_wall("bookshelf", *self.choose("bookshelf", 0.7, own), tries=80)
        yield
        for _ in range(2):
            self.rest("bookshelf", "box")
        if len(self.kind.parts) == 1:
            self.table_and_chairs("dining table", rng.integers(1, 4))
            self.settle("dining table", ("books", "laptop", "books", "lamp", "bag"), 4)
            self.against_wall("armchair", *self.choose("armchair", 0.0, None))

    def storage(self) -> Iterator[None]:
        rng = self.rng
        for _ in range(rng.integers(2, 4)):
            self.against_wall("shelf", clutter.rack(rng), "", tries=80)
        if rng.random() < 0.7:
            self.against_wall("wardrobe", *self.choose("wardrobe", 0.0, None))
        yield
        for category in ("suitcase", "crate", "trash can", "laundry basket", "chair", "washing machine"):
            if rng.random() < 0.6:
                self.against_wall(category, *self.choose(category, 0.0, None))
        for _ in range(6):
            self.anywhere("box", *self.small("box"))

    def filler(self) -> None:
        """What any room may hold: more storage along the walls, bins, radiators, chairs."""
        rng = self.rng
        wet = not {"bath", "washroom", "storage"}.isdisjoint(self.kind.parts)
        chances = {"trash can": 0.2, "radiator": 0.1, "crate": 0.04, "laundry basket": 0.03 + 0.12 * wet}
        if not wet:
            chances |= {"chair": 0.15, "armchair": 0.1, "coffee table": 0.3, "ottoman": 0.06, "suitcase": 0.1}
            chances |= {"cabinet": 0.05, "dresser": 0.2, "shelf": 0.12, "nightstand": 0.25}
        present = {thing.category for thing in self.plan.objects}
        for category in ("chair", "cabinet", "file cabinet", "coffee table", "bookshelf", "trash can"):
            if category in present:  # rooms hold several of what they hold at all
                chances[category] = 0.75
        for _ in range(2):
            for category in map(str, rng.permutation(list(chances))):
                if rng.random() < chances[category] and self.counted() < 21:
                    made = (clutter.rack(rng), "") if category == "shelf" else self.choose(category, 0.0, None)
                    self.against_wall(category, *made)

    def clutter(self) -> None:
        """Small things on every top that is left and on the floor, most of them along the walls."""
        rng = self.rng
        if {"bath", "washroom", "storage"}.isdisjoint(self.kind.parts) and rng.random() < 0.6:
            self.lay_rug()
        tops = ("cabinet", "wardrobe", "chair", "office chair", "coffee table", "nightstand", "dresser", "stove")
        for host in [index for category in tops for index in self.count(category)]:
            if rng.random() < 0.45:
                self.settle(host, ("box", "clothes", "bag", "books", "bottle", "pillow"), 2)
        chances = {"box": 0.9, "bag": 0.8, "plant": 0.3, "clothes": 0.7, "books": 0.5, "lamp": 0.25, "backpack": 0.3}
        chances |= {"bottle": 0.4, "toy": 0.2, "speaker": 0.25, "suitcase": 0.1}
        for turn in range(4):
            for category in map(str, rng.permutation(list(chances))):
                if rng.random() < chances[category]:
                    made = self.small("floor lamp" if category == "lamp" else category)
                    if turn == 0 or self.against_wall(category, *made, small=True) is None:
                        self.anywhere(category, *made, small=True)

    # --- placing

    def choose(self, category: str, parametric: float, own: Callable[[], Mesh] | None) -> tuple[Mesh, str]:
        """A model of a category in random scale and colour, or with probability ``parametric`` one of our own."""
        rng = self.rng
        if own is not None and rng.random() < parametric:
            return own(), ""
        models = (NOVEL if self.novel else SHARED).get(category) or SHARED[category]
        model = models[rng.integers(len(models))]
        mesh = self.catalogue.mesh(model).scaled(rng.uniform(0.92, 1.06) * rng.uniform(0.96, 1.04, 3))
        return mesh.tinted(rng.uniform(0.8, 1.15) * rng.uniform(0.92, 1.08, 3)), model

    def small(self, category: str) -> tuple[Mesh, str]:
        """A small thing: one of ours, or a model."""
        rng = self.rng
        own = {
            "pillow": clutter.cushion,
            "clothes": clutter.clothes,
            "bag": clutter.bag,
            "books": clutter.books,
            "bottle": clutter.bottle,
            "monitor": clutter.monitor,
            "box": clutter.carton,
        }
        return (own[category](rng), "") if category in own else self.choose(category, 0.0, None)

    def annotated(self, small: bool) -> bool:
        return not (small and self.rng.random() < UNANNOTATED)

    def put(
        self, category: str, model: str, mesh: Mesh, offset: tuple = (0, 0, 0), host: int = -1, small: bool = False
    ) -> bool:
        """Add a mesh moved by an offset if it fits there; it may meet its host."""
        shift = np.asarray(offset)
        fits = self.plan.fits(mesh.lower + shift, mesh.upper + shift, host)
        if fits:
            self.plan.objects.append(Placed(category, model, mesh.moved(offset), host, self.annotated(small)))
        return fits

    def count(self, category: str) -> list[int]:
        return [i for i, thing in enumerate(self.plan.objects) if thing.category == category]

    def any_edge(self) -> Edge:
        """A random wall, long ones more often."""
        lengths = np.array([edge.length for edge in self.edges])
        return self.edges[self.rng.choice(len(lengths), p=lengths / lengths.sum())]

    def against_wall(
        self,
        category: str,
        mesh: Mesh,
        model: str,
        near: str = "",
        corner: bool = False,
        tries: int = 40,
        small: bool = False,
    ) -> Edge | None:
        """Stand a mesh with its back to a wall; the wall, or None if it found no room.

        The place nearest to an object of category ``near`` wins where one is given; ``corner`` keeps to the corners.
        """
        rng, plan = self.rng, self.plan
        turned = [mesh.turned(angle) for angle in ANGLES]
        best, best_distance = None, np.inf
        targets = [(thing.mesh.lower + thing.mesh.upper)[:2] / 2 for thing in plan.objects if thing.category == near]
        half = mesh.size[0] / 2 + GAP
        for _ in range(tries):
            edge = self.any_edge()
            if 2 * half > edge.length:
                continue
            along = rng.uniform(edge.low + half, edge.high - half)
            if corner or rng.random() < 0.3:
                along = (edge.low + half, edge.high - half)[rng.integers(2)]
            offset = self.wall_offset(turned[edge.side], edge, along, GAP)
            lower, upper = turned[edge.side].lower + offset, turned[edge.side].upper + offset
            if not plan.fits(lower - FREE, upper + FREE):
                continue
            distance = min((float(np.linalg.norm((lower + upper)[:2] / 2 - target)) for target in targets), default=0.0)
            if distance < best_distance:
                best, best_distance = (edge, offset), distance
            if not targets:
                break
        if best is None:
            return None
        edge, offset = best
        self.edge_of[len(plan.objects)] = edge
        placed = Placed(category, model, turned[edge.side].moved(offset), annotated=self.annotated(small))
        plan.objects.append(placed)
        return edge

    def wall_offset(self, turned: Mesh, edge: Edge, along: float, gap: float) -> np.ndarray:
        """The shift that brings a turned mesh with its back to a wall, ``gap`` before it, at z as it is."""
        centre = (turned.lower + turned.upper) / 2
        place = edge.point(along) + edge.inward * (np.abs(edge.inward) @ turned.size[:2] / 2 + gap)
        return np.array([*(place - centre[:2]), 0.0])

    def anywhere(self, category: str, mesh: Mesh, model: str, tries: int = 30, small: bool = False) -> bool:
        """Stand a mesh anywhere on the floor."""
        rng, plan = self.rng, self.plan
        outline, room = outline_of(mesh), np.array([plan.width, plan.depth])
        for _ in range(tries):
            angle = ANGLES[rng.integers(4)] + rng.uniform(-0.3, 0.3) * (small or category == "chair")
            lower, upper = outline_box(outline, angle)
            half = (upper - lower) / 2
            if (2 * half + 0.2 > room).any():
                return False
            shift = rng.uniform(half + 0.1, room - half - 0.1) - (lower + upper) / 2
            if plan.fits(np.array([*(lower + shift), mesh.lower[2]]), np.array([*(upper + shift), mesh.upper[2]])):
                return self.put(category, model, mesh.turned(angle), (*shift, 0), small=small)
        return False

    def lay_rug(self) -> None:
        """A rug on the floor; furniture stands on it."""
        rng, plan = self.rng, self.plan
        for _ in range(20):
            rug = clutter.rug(rng).turned(ANGLES[rng.integers(2)])
            half = rug.size[:2] / 2
            room = np.array([plan.width, plan.depth])
            if (2 * half < room).all():
                offset = np.array([*rng.uniform(half, room - half), 0.0])
                if plan.contains(rug.lower + offset, rug.upper + offset):
                    plan.objects.append(Placed("rug", "", rug.moved(offset)))
                    return

    def worktop(self, category: str, length: float) -> None:
        """A counter or a vanity, nearly always with a sink set into it."""
        rng = self.rng
        vanity = category == "bathroom vanity"
        has_sink = vanity or rng.random() < 0.7
        size = (
            (rng.uniform(0.42, 0.5), rng.uniform(0.34, 0.38))
            if vanity
            else (rng.uniform(0.5, 0.62), rng.uniform(0.4, 0.44))
        )
        x = 0.0 if vanity else rng.uniform(-0.25, 0.25) * (length - 0.9)
        hole = (x, size[0] - 0.03, size[1] - 0.03) if has_sink else None
        mesh = shapes.counter(rng, length, hole, vanity, self.novel)
        edge = self.against_wall(category, mesh, "", near="toilet" if vanity else "", tries=80)
        if edge is None or not has_sink:
            return
        host = len(self.plan.objects) - 1
        lower, upper = self.plan.objects[host].box
        sink = shapes.basin(rng, *size, novel=self.novel)
        centre = (lower + upper) / 2
        turned = sink.moved((x, 0, 0)).turned(ANGLES[edge.side])
        self.put("sink", "", turned, (*centre[:2], upper[2] - 0.12 + 0.001), host)

    def table_and_chairs(self, category: str, chairs: int) -> None:
        """A table with chairs drawn up to its sides."""
        rng = self.rng
        mesh, model = self.choose(category, 0.0, None)
        placed = self.anywhere(category, mesh, model, tries=60)
        if not placed:
            placed = self.against_wall(category, mesh, model) is not None
        if not placed:
            return
        lower, upper = self.plan.objects[-1].box
        models = (NOVEL if self.novel else SHARED)["chair"]
        model = models[rng.integers(len(models))]
        base = (
            self.catalogue.mesh(model)
            .scaled(np.full(3, rng.uniform(0.94, 1.04)))
            .tinted(rng.uniform(0.85, 1.15) * np.ones(3))
        )
        slots = [(side, shift) for side in range(4) for shift in (-0.26, 0.26)]
        for number in rng.permutation(len(slots)):
            if chairs == 0:
                break
            side, shift = slots[number]
            outward = -Edge(side, 0.0, 0.0, 0.0).inward
            across = np.array([-outward[1], outward[0]])
            extent = np.abs(across) @ (upper - lower)[:2]
            shift = shift if extent > 1.15 else 0.0
            # a chair at the south side of a table faces north: its back is to the south
            turned = base.turned(ANGLES[side] + rng.uniform(-0.25, 0.25))
            half = np.abs(outward) @ turned.size[:2] / 2
            reach = np.abs(outward) @ (upper - lower)[:2] / 2 + half + rng.uniform(0.01, 0.12)
            place = ((lower + upper) / 2)[:2] + outward * reach + across * shift * extent
            chairs -= self.put("chair", model, turned, (*place, 0))

    def settle(self, host: str | int, categories: tuple[str, ...], most: int) -> None:
        """Rest up to ``most`` things of these categories on an object."""
        chosen = np.sort(self.rng.permutation(len(categories))[:most])
        for number in chosen:
            self.rest(host, categories[number])

    def rest(self, host: str | int, category: str, mesh: Mesh | None = None) -> None:
        """Lay a small thing where the upper surface of an object (the latest of a category) is level."""
        rng, plan = self.rng, self.plan
        hosts = [host] if isinstance(host, int) else self.count(host)
        if not hosts:
            return
        mesh, model = (mesh, "") if mesh is not None else self.small(category)
        thing = plan.objects[hosts[-1]]
        if hosts[-1] not in self.surfaces:
            self.surfaces[hosts[-1]] = upper_surface(thing.mesh)
        origin, heights = self.surfaces[hosts[-1]]
        outline = outline_of(mesh)
        for _ in range(15):
            angle = rng.uniform(-0.4, 0.4) + ANGLES[rng.integers(4)]
            lower, upper = outline_box(outline, angle)
            half = (upper - lower) / 2
            if (2 * half > thing.mesh.size[:2]).any():
                continue
            centre = rng.uniform(thing.mesh.lower[:2] + half, thing.mesh.upper[:2] - half)
            first = ((centre - half - origin) / 0.05).astype(int)
            last = ((centre + half - origin) / 0.05).astype(int) + 1
            under = heights[first[0] : last[0], first[1] : last[1]]
            top = under.max()
            if np.median(under) < top - 0.05 or under.min() < top - 0.12 or not 0.1 < top < 1.9:
                continue
            shift = np.array([*(centre - (lower + upper) / 2), top + 0.002])
            if plan.fits(np.array([*lower, 0.0]) + shift, np.array([*upper, mesh.upper[2]]) + shift, hosts[-1]):
                self.put(category, model, mesh.turned(angle), tuple(shift), hosts[-1], small=True)
                return

    def hang(self, category: str) -> bool:
        """Hang something on a free piece of wall: a door, a picture, a board, a towel or a wall cabinet."""
        rng, plan = self.rng, self.plan
        own = {
            "picture": (lambda: shapes.picture(rng, self.novel), (1.05, 1.35)),
            "whiteboard": (lambda: clutter.whiteboard(rng), (0.85, 1.0)),
            "towel": (lambda: clutter.towel(rng), (0.7, 1.0)),
        }
        if category in own:
            make, height = own[category]
            mesh, model, low = make(), "", rng.uniform(*height)
        else:
            mesh, model = self.choose(category, 0.0, None)
            low = {"door": 0.0, "tv": 1.0}.get(category, rng.uniform(1.35, 1.45))
        if category == "door":
            mesh = mesh.scaled((0.9, 0.09 / mesh.size[1], 0.97))
        if category == "kitchen cabinet":
            mesh = mesh.scaled((1, 1, 0.85))
        half = mesh.size[0] / 2
        for edge, along in self.wall_places(half):
            counters = self.count("kitchen counter")
            if category == "kitchen cabinet" and counters:  # above the worktop
                lower, upper = plan.objects[counters[-1]].box
                edge = self.edge_of[counters[-1]]
                axis = edge.side % 2
                along = rng.uniform(lower[axis] + half, max(upper[axis] - half, lower[axis] + half + 0.01))
            if self.on_wall(category, mesh, model, edge, along, low):
                if category == "door":
                    lower, upper = (np.array(part) for part in plan.objects[-1].box)
                    swing = edge.inward * 0.55
                    plan.clear.append((np.minimum(lower, lower + [*swing, 0]), np.maximum(upper, upper + [*swing, 0])))
                return True
        return False

    def wall_places(self, half: float) -> Iterator[tuple[Edge, float]]:
        """Up to 40 random places for something twice ``half`` wide: a wall and metres along it."""
        for _ in range(40):
            edge = self.any_edge()
            if 2 * half + 0.1 <= edge.length:
                yield edge, self.rng.uniform(edge.low + half + 0.05, edge.high - half - 0.05)

    def on_wall(self, category: str, mesh: Mesh, model: str, edge: Edge, along: float, low: float) -> bool:
        """Fix a mesh to a wall, its lower edge at height ``low``."""
        turned = mesh.turned(ANGLES[edge.side])
        offset = self.wall_offset(turned, edge, along, 0.002)
        fits = self.put(category, model, turned, (*offset[:2], low - turned.lower[2]))
        if fits:
            self.edge_of[len(self.plan.objects) - 1] = edge
        return fits

    def window(self, with_curtains: bool = False) -> None:
        """A window, with a curtain at one or both sides if wanted, else sometimes with blinds."""
        rng = self.rng
        mesh = shapes.window(rng, self.novel).scaled((rng.uniform(0.7, 1.0), 1, rng.uniform(0.75, 0.95)))
        half = mesh.size[0] / 2
        for edge, along in self.wall_places(half):
            low = rng.uniform(0.85, 1.0)
            if not self.on_wall("window", mesh, "", edge, along, low):
                continue
            if with_curtains:
                for direction in (-1, 1):
                    cloth = shapes.curtain(rng, self.novel)
                    reach = cloth.size[0] / 2
                    beside = along + direction * (half + reach + 0.01)
                    if rng.random() < 0.9 and edge.low + reach < beside < edge.high - reach:
                        self.on_wall("curtain", cloth, "", edge, beside, 0.12)
            elif rng.random() < 0.3:
                window = len(self.plan.objects) - 1
                cover = clutter.blinds(rng, mesh.size[0] * 0.9, mesh.size[2] * rng.uniform(0.4, 0.8))
                turned = cover.turned(ANGLES[edge.side])
                place = self.wall_offset(turned, edge, along, mesh.size[1])
                top = self.plan.objects[window].mesh.upper[2]
                self.put("blinds", "", turned, (*place[:2], top - cover.size[2]), window)
            return
