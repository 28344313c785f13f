"""Plans of office rooms in the manner of S3DIS: a shell with columns and beams, and what stands and hangs in it.

Things meet nothing but the shell: boxes are compared, and for a chair drawn up to a table the surfaces themselves.
Walls, ceiling, floor, columns and beams may run into each other, as they do in buildings.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from room_factory import areas_shapes as shapes
from room_factory.areas_shapes import pick
from room_factory.catalogue import Catalogue
from room_factory.plan import ANGLES, OVERLAP, boxes_meet
from room_factory.selection import CC0, CCBY, KATOR, SCOPIA
from room_factory.shapes import box
from room_factory.triangles import Mesh, split_long_faces

SHELL = ("ceiling", "floor", "wall", "beam", "column")
APART = 0.012  # metres between a chair's surface and a table's

# catalogue models by what they serve as
MODELS: dict[str, tuple[str, ...]] = {
    "office chair": (
        CC0 + "armchair",
        KATOR + "office-chair",
        SCOPIA + "office_chair",
        SCOPIA + "kids_desk_chair",
    ),
    "chair": (
        CC0 + "plasticChair",
        CC0 + "sillaBlanca",
        CCBY + "cafe_set_tonon_chair",
        CCBY + "chair3",
        CCBY + "foldingChair",
        CCBY + "kitchenChair",
        CCBY + "plaidChair",
        SCOPIA + "chair",
        SCOPIA + "plastic_chair",
        SCOPIA + "white_kitchen_chair",
    ),
    "table": (
        CC0 + "lbDesk",
        CCBY + "table",
        CCBY + "simpleDesk",
        CCBY + "officeTable",
        SCOPIA + "table4",
        SCOPIA + "table-with-leaning-feet",
        SCOPIA + "wooden_office_pear_table_rect",
        SCOPIA + "wooden_table_office",
        SCOPIA + "table-on-trestles",
        SCOPIA + "white_kitchen_table",
    ),
    "coffee table": (SCOPIA + "saloon_table", CCBY + "coffeeTable"),
    "sofa": (
        CC0 + "sofa2",
        CCBY + "sofa2",
        CCBY + "sofa3",
        SCOPIA + "beige_sofa_2seats",
        SCOPIA + "burlap_sofa",
        SCOPIA + "clear_sofa",
        SCOPIA + "leather_sofa",
        SCOPIA + "simple_sofa",
    ),
    "bookcase": (KATOR + "full-bookcase", SCOPIA + "kids_shelves"),
    "door": (SCOPIA + "puerta", SCOPIA + "door", KATOR + "exterior-door-02", KATOR + "exterior-door-05"),
    "plant": (CC0 + "decorativePlant", SCOPIA + "maceta", SCOPIA + "ficus", CCBY + "decorativePlant"),
    "desk thing": (
        CCBY + "laptop",
        SCOPIA + "phone",
        SCOPIA + "bandeja",
        SCOPIA + "inkjet_and_scanner_printer",
        CC0 + "desklamp",
        CC0 + "littlePlant",
        SCOPIA + "penbox",
        SCOPIA + "vase1",
    ),
    "kitchen thing": (
        CCBY + "microwave",
        KATOR + "coffee-maker",
        SCOPIA + "toaster",
        SCOPIA + "bowl",
        SCOPIA + "teapot",
    ),
    "floor thing": (
        CCBY + "backpack",
        SCOPIA + "cardboard-box",
        KATOR + "recycling-bin",
        CC0 + "briefcase",
        CC0 + "dustbin",
        KATOR + "bullet-trash-can",
        CCBY + "suitcase",
    ),
    "tall thing": (SCOPIA + "water_cooler", SCOPIA + "living_lamp", CC0 + "whiteBoard"),
    "ladder": (SCOPIA + "step-ladder-metal",),
    "extinguisher": (CC0 + "fireExtinguisher",),
    "toilet": (CC0 + "toiletsUnit", CCBY + "modernToilet"),
    "washbasin": (CC0 + "washbasin", CCBY + "washbasin_jay_hardy"),
}


@dataclass(frozen=True)
class Thing:
    """One annotated object: its S3DIS class, the catalogue model's id ("" if parametric) and its mesh in the room."""

    label: str
    model: str
    mesh: Mesh

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        return self.mesh.lower, self.mesh.upper


@dataclass
class AreaPlan:
    """A room of x in 0..width, y in 0..depth, z in 0..height; the shell comes first among its things."""

    width: float
    depth: float
    height: float
    things: list[Thing] = field(default_factory=list)
    clear: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # boxes kept free: door swings, corners

    def inside(self, mesh: Mesh) -> bool:
        """Whether a mesh lies in the room."""
        size = np.array([self.width, self.depth, self.height])
        return bool((mesh.lower >= -OVERLAP).all() and (mesh.upper <= size + OVERLAP).all())

    def fits(self, thing: Thing, embedded: bool = False) -> bool:
        """Whether a thing can be added; an ``embedded`` one, a door or a window, may reach behind its wall."""
        if not embedded and not self.inside(thing.mesh):
            return False
        if any(boxes_meet(thing.box, box_) for box_ in self.clear):
            return False
        return not any(meet(thing, other) for other in self.things)


def meet(a: Thing, b: Thing) -> bool:
    """Whether two things intersect: by their boxes; a chair and a table by surfaces less than APART away.

    Floor and ceiling are left out, which ``AreaPlan.inside`` looks after, and so are doors and windows in their wall.
    """
    labels = {a.label, b.label}
    if labels & {"ceiling", "floor"} or labels in ({"wall", "door"}, {"wall", "window"}):
        return False
    lower, upper = np.maximum(a.mesh.lower, b.mesh.lower), np.minimum(a.mesh.upper, b.mesh.upper)
    if not boxes_meet(a.box, b.box):
        return False
    if labels != {"chair", "table"}:
        return True
    near = [_surface(thing.mesh, lower - 0.03, upper + 0.03) for thing in (a, b)]
    if not (len(near[0]) and len(near[1])):
        return False
    distance, _ = cKDTree(near[0]).query(near[1], distance_upper_bound=APART + 0.015)
    return bool(np.isfinite(distance).any())


def _surface(mesh: Mesh, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Points at most about 1.5 cm apart on the part of a mesh inside a box, float [P, 3]."""
    corners = mesh.vertices[mesh.faces]  # [F, 3, 3]
    reached = (corners.min(axis=1) <= upper).all(axis=1) & (corners.max(axis=1) >= lower).all(axis=1)
    points, faces = split_long_faces(mesh.vertices, mesh.faces[reached], 0.03)
    points = np.concatenate([points, points[faces].mean(axis=1)])
    points = points[((points >= lower) & (points <= upper)).all(axis=1)]
    cells = np.floor((points - lower) / 0.008).astype(np.int64)
    return points[np.unique(cells @ [1 << 40, 1 << 20, 1], return_index=True)[1]]  # one in 8 mm will do


def intersections(plan: AreaPlan) -> list[tuple[str, str]]:
    """Pairs of classes whose things intersect, and ("wall", class) for what leaves the room or stands in a corner."""
    found = []
    for i, a in enumerate(plan.things):
        if a.label in SHELL:
            continue
        if a.label not in ("door", "window") and not plan.inside(a.mesh):
            found.append(("wall", a.label))
        found += [(a.label, b.label) for j, b in enumerate(plan.things) if (j < i or b.label in SHELL) and meet(a, b)]
    return found


def make_area_plan(catalogue: Catalogue, seed: int, area: int, kind: str, number: int) -> AreaPlan:
    """The plan of room ``<kind>_<number>`` of an area; the same arguments give the same plan."""
    rng = np.random.default_rng([seed, area, number, *kind.encode()])
    return _Builder(catalogue, rng, kind, number).build()


SIZES = {  # shorter and longer side in metres
    "office": ((3.0, 3.7), (3.9, 5.0)),
    "conferenceRoom": ((3.4, 4.2), (5.0, 6.2)),
    "hallway": ((1.9, 2.5), (8.0, 11.0)),
    "lobby": ((4.6, 5.4), (5.4, 6.4)),
    "lounge": ((4.2, 5.0), (4.8, 5.8)),
    "copyRoom": ((2.8, 3.4), (3.8, 4.8)),
    "storage": ((2.8, 3.4), (3.8, 4.8)),
    "WC": ((2.6, 3.1), (3.8, 4.8)),
    "pantry": ((3.0, 3.6), (4.0, 5.0)),
}


class _Builder:
    def __init__(self, catalogue: Catalogue, rng: np.random.Generator, kind: str, number: int):
        self.catalogue, self.rng, self.kind, self.number = catalogue, rng, kind, number
        sides = [rng.uniform(*limits) for limits in SIZES[kind]]
        self.plan = AreaPlan(*(sides if rng.random() < 0.5 else sides[::-1]), rng.uniform(2.55, 3.0))
        self.holes: list[list[tuple]] = [[], [], [], []]  # openings of the four walls
        self.tops: list[tuple[Thing, float]] = []  # tables and their height, for what lies on them
        paints = [(228, 224, 210), (215, 220, 224), (232, 226, 200), (205, 215, 205), (226, 208, 195), (235, 235, 232)]
        self.paint = pick(rng, paints)

    def build(self) -> AreaPlan:
        rng, kind = self.rng, self.kind
        self.frame()
        doors = {"hallway": (4, 7), "lobby": (2, 4), "lounge": (1, 3), "conferenceRoom": (1, 3), "WC": (1, 3)}
        for _ in range(rng.integers(*doors.get(kind, (1, 2)))):
            self.door()
        windows = {"hallway": (0, 2), "storage": (0, 2), "copyRoom": (0, 2), "WC": (0, 2)}
        for _ in range(rng.integers(*windows.get(kind, (1, 3)))):
            self.window()
        boards = {"conferenceRoom": 2, "hallway": 2, "WC": 0, "office": 1}
        for _ in range(boards.get(kind, int(rng.random() < 0.7))):
            self.on_wall("board", "", shapes.board(rng), (0.85, 1.0), reach=0.1)
        getattr(self, kind)()
        self.fittings()
        self.close()
        return self.plan

    # --- the shell

    def frame(self) -> None:
        """Beams, columns and, in some rooms, a corner that is walled off."""
        rng, plan = self.rng, self.plan
        if rng.random() < 0.45 and self.kind != "hallway":
            cut = rng.uniform(0.5, 1.1, 2)
            high = rng.random(2) < 0.5
            lower = np.where(high, [plan.width, plan.depth] - cut, 0)
            mesh = self.corner(lower, lower + cut, high)
            plan.clear.append((np.array([*lower, 0.0]), np.array([*(lower + cut), plan.height])))
            for part in mesh:
                plan.things.append(Thing("wall", "", part))
        concrete = pick(rng, [(150, 148, 145), (172, 168, 160), (135, 130, 126)])
        across = int(plan.width < plan.depth)  # beams run along the shorter side
        long = (plan.width, plan.depth)[across]
        count = {"hallway": rng.integers(2, 4), "lobby": 2}.get(self.kind, rng.integers(1, 3))
        places = (np.arange(count) + rng.uniform(0.25, 0.75, count)) * long / count
        color = concrete if rng.random() < 0.6 else self.paint * 0.88
        for place in places:
            half, drop = rng.uniform(0.12, 0.22), rng.uniform(0.22, 0.4)
            lower, upper = np.array([0, 0, plan.height - drop]), np.array([plan.width, plan.depth, plan.height])
            lower[across], upper[across] = place - half, place + half
            plan.things.append(Thing("beam", "", box(tuple(lower), tuple(upper), color)))
        color = concrete if rng.random() < 0.7 else self.paint * rng.uniform(0.75, 0.9)
        count = {"hallway": 3, "lobby": 2, "lounge": 2}.get(self.kind, rng.integers(0, 3))
        for i in range(count):
            size = rng.uniform(0.28, 0.5, 2)
            place = places[i % len(places)] + rng.uniform(-0.1, 0.1)  # columns stand below beams
            free = self.kind in ("lobby", "lounge") and i == 0
            if free:
                size[:] = size[0]
            short = (plan.width, plan.depth)[1 - across]
            aside = (
                short * rng.uniform(0.3, 0.7) if free else (size[1 - across] / 2, short - size[1 - across] / 2)[i % 2]
            )
            centre = np.array([place, aside]) if across == 0 else np.array([aside, place])
            mesh = shapes.column(rng, *size, plan.height, color, free and rng.random() < 0.5).moved((*centre, 0))
            if plan.inside(mesh) and not any(boxes_meet((mesh.lower, mesh.upper), other) for other in plan.clear):
                if not any(meet(Thing("column", "", mesh), b) for b in plan.things if b.label == "column"):
                    plan.things.append(Thing("column", "", mesh))

    def corner(self, lower: np.ndarray, upper: np.ndarray, high: np.ndarray) -> list[Mesh]:
        """The two walls of a walled-off corner."""
        rise, skirting = self.plan.height, 0.1
        x, y = np.where(high, lower, upper)  # the faces that the room sees
        spans = (((x, lower[1]), (0.0, upper[1] - lower[1])), ((lower[0], y), (upper[0] - lower[0], 0.0)))
        return [
            shapes.texture((*start, 0), (*along, 0), (0, 0, rise), np.tile(self.paint, (int(rise / skirting), 2, 1)))
            for start, along in spans
        ]

    def close(self) -> None:
        """Floor, ceiling and the walls around their openings; they come first in the plan."""
        rng, plan = self.rng, self.plan
        skirting = self.paint * rng.uniform(0.4, 0.95)
        shell = [
            Thing("ceiling", "", shapes.ceiling(rng, plan.width, plan.depth, plan.height)),
            Thing("floor", "", shapes.floor(rng, plan.width, plan.depth)),
        ]
        accent = rng.integers(4) if rng.random() < 0.35 else -1
        tint = pick(rng, [(150, 175, 195), (195, 160, 130), (170, 190, 150), (190, 140, 130)])
        for side in range(4):
            paint = tint if side == accent else self.paint * rng.uniform(0.96, 1.03)
            mesh = shapes.wall(self.length(side), plan.height, self.holes[side], paint, skirting)
            shell.append(Thing("wall", "", mesh.turned(ANGLES[side]).moved(self.middle(side))))
        plan.things[:0] = shell

    def door(self) -> None:
        rng = self.rng
        for _ in range(20):
            wide = rng.uniform(1.5, 1.8) if rng.random() < 0.2 else rng.uniform(0.88, 1.02)
            high, model = rng.uniform(2.02, 2.15), ""
            if wide < 1.3 and rng.random() < 0.35:
                mesh, model = self.choose("door", 0.0)
                mesh = mesh.scaled((wide / mesh.size[0], 0.12 / mesh.size[1], high / mesh.size[2])).moved((0, 0.05, 0))
            else:
                mesh = shapes.door(rng, wide, high)
            side = self.long_side() if self.kind == "hallway" and rng.random() < 0.8 else int(rng.integers(4))
            if self.embed("door", model, mesh, side, 0.0, reach=0.7):
                return

    def window(self) -> None:
        rng = self.rng
        sides = rng.permutation(4)
        for side in (*sides, *sides):
            wide = min(rng.uniform(0.9, 2.2), self.length(side) - 0.5)
            low = rng.uniform(0.75, 1.0)
            mesh = shapes.window(rng, wide, rng.uniform(2.05, 2.2) - low)
            if self.embed("window", "", mesh, int(side), low, reach=0.1):
                return

    def embed(self, label: str, model: str, mesh: Mesh, side: int, low: float, reach: float) -> bool:
        """Set a mesh into an opening of a wall and keep ``reach`` metres before it free."""
        rng, half = self.rng, mesh.size[0] / 2
        room = self.length(side) / 2 - half - 0.08
        if room < 0:
            return False
        u = rng.uniform(-room, room)
        thing = Thing(label, model, self.at_wall(mesh.moved((u, 0, low)), side))
        before = self.at_wall(box((u - half, -reach, low), (u + half, 0.0, low + mesh.upper[2]), np.zeros(3)), side)
        extent = (before.lower, before.upper)
        if not self.plan.fits(thing, embedded=True) or not self.plan.fits(Thing("", "", before)):
            return False
        self.plan.things.append(thing)
        self.plan.clear.append(extent)
        opening = half if label == "door" else half - 0.01
        self.holes[side].append((u - opening, u + opening, low, low + mesh.upper[2]))
        return True

    # --- kinds of rooms

    def office(self) -> None:
        rng = self.rng
        if rng.random() < 0.55 or self.number == 2:  # before the rest, or it finds no place
            self.against_wall("sofa", *self.own_or_model("sofa", 0.4, shapes.sofa))
        for _ in range(rng.integers(2, 4)):
            self.desk_place()
        for _ in range(rng.integers(1, 4)):
            self.against_wall("bookcase", *self.own_or_model("bookcase", 0.75, shapes.bookcase))
        for _ in range(rng.integers(0, 3)):
            self.against_wall("clutter", shapes.cabinet(rng), "")
        if rng.random() < 0.5:
            self.table_place(rng.integers(1, 3))
        for _ in range(rng.integers(1, 3)):
            self.against_wall("chair", *self.choose("chair", 0.05))
        self.floor_things(rng.integers(3, 6))

    def conferenceRoom(self) -> None:
        rng, plan = self.rng, self.plan
        along = int(plan.width < plan.depth)
        wide, deep = rng.uniform(0.42, 0.55) * max(plan.width, plan.depth), rng.uniform(1.0, 1.3)
        mesh = shapes.table(rng, wide, deep, rng.uniform(0.72, 0.76)).turned(np.pi / 2 * along)
        centre = np.array([plan.width, plan.depth]) / 2 + rng.uniform(-0.15, 0.15, 2)
        if self.put("table", "", mesh.moved((*centre, 0))):
            self.tops.append((plan.things[-1], float(mesh.upper[2])))
            self.chairs_around(plan.things[-1], "office chair" if rng.random() < 0.6 else "chair", rng.integers(6, 11))
        if rng.random() < 0.6:
            self.against_wall("table", shapes.table(rng, rng.uniform(1.0, 1.6), 0.5, 0.75), "", top=0.75)
        if rng.random() < 0.5:
            self.against_wall("bookcase", *self.own_or_model("bookcase", 0.75, shapes.bookcase))
        if rng.random() < 0.35:
            self.against_wall("sofa", *self.own_or_model("sofa", 0.4, shapes.sofa))
        self.hang_below("clutter", shapes.projector(rng), centre)
        self.on_wall("clutter", "", shapes.screen(rng), (1.0, 1.2))
        for _ in range(rng.integers(1, 3)):
            self.against_wall("chair", *self.choose("chair", 0.05))
        self.floor_things(rng.integers(1, 4))

    def hallway(self) -> None:
        rng = self.rng
        for _ in range(rng.integers(1, 3)):
            self.against_wall("bookcase", *self.own_or_model("bookcase", 0.75, shapes.bookcase))
        for _ in range(rng.integers(1, 4)):
            self.against_wall("chair", *self.choose("chair", 0.05))
        if rng.random() < 0.5:
            self.against_wall("sofa", *self.own_or_model("sofa", 0.5, shapes.sofa))
        if rng.random() < 0.8:
            self.against_wall("table", shapes.table(rng, rng.uniform(0.7, 1.2), 0.45, 0.74), "", top=0.74)
        self.on_wall("clutter", *self.choose("extinguisher", 0.0)[::-1], (0.5, 0.8))
        for _ in range(rng.integers(2, 5)):
            self.on_wall("clutter", "", shapes.poster(rng), (1.1, 1.5))
        self.floor_things(rng.integers(3, 6))

    def lounge(self) -> None:
        rng = self.rng
        for _ in range(rng.integers(2, 5)):
            thing = self.against_wall("sofa", *self.own_or_model("sofa", 0.5, shapes.sofa))
            if thing is not None and rng.random() < 0.6:
                mesh, model = self.own_or_model(
                    "coffee table",
                    0.6,
                    lambda r: shapes.table(r, r.uniform(0.7, 1.1), r.uniform(0.45, 0.6), r.uniform(0.4, 0.5)),
                )
                self.before(thing, "table", mesh, model, 0.35)
        for _ in range(rng.integers(1, 3)):
            self.table_place(rng.integers(2, 5))
        for _ in range(rng.integers(0, 3)):
            self.against_wall("bookcase", *self.own_or_model("bookcase", 0.75, shapes.bookcase))
        for _ in range(rng.integers(1, 4)):
            self.against_wall("chair", *self.choose("chair", 0.05))
        for _ in range(rng.integers(1, 3)):
            self.on_wall("clutter", "", shapes.poster(rng), (1.1, 1.5))
        self.floor_things(rng.integers(3, 7))

    def lobby(self) -> None:
        self.lounge()
        self.desk_place()

    def copyRoom(self) -> None:
        rng = self.rng
        for _ in range(rng.integers(1, 3)):
            self.against_wall("clutter", shapes.copier(rng), "")
        for _ in range(rng.integers(1, 3)):
            high = rng.uniform(0.72, 0.92)
            self.against_wall(
                "table", shapes.table(rng, rng.uniform(1.0, 1.8), rng.uniform(0.5, 0.65), high), "", top=high
            )
        for _ in range(rng.integers(1, 4)):
            self.against_wall("bookcase", shapes.bookcase(rng, bool(rng.random() < 0.5)), "")
        for _ in range(rng.integers(1, 3)):
            self.against_wall("clutter", shapes.cabinet(rng), "")
        for _ in range(rng.integers(1, 3)):
            self.against_wall("chair", *self.choose("chair", 0.05))
        self.floor_things(rng.integers(4, 8))

    def storage(self) -> None:
        rng = self.rng
        for _ in range(rng.integers(3, 6)):
            self.against_wall("bookcase", shapes.bookcase(rng, bool(rng.random() < 0.7)), "")
        if rng.random() < 0.8:
            self.against_wall("table", shapes.table(rng, rng.uniform(1.0, 1.6), 0.6, 0.74), "", top=0.74)
        for _ in range(rng.integers(1, 3)):
            self.against_wall("chair", *self.choose("chair", 0.05))
        self.against_wall("clutter", *self.choose("ladder", 0.0))
        for _ in range(rng.integers(3, 7)):
            self.anywhere("clutter", shapes.carton(rng), "")
        if rng.random() < 0.4:
            self.against_wall("sofa", *self.own_or_model("sofa", 0.5, shapes.sofa))
        self.floor_things(rng.integers(2, 5))

    def WC(self) -> None:
        rng = self.rng
        free = [side for side in range(4) if not self.holes[side]]  # stalls stand at a wall without a door
        side = free[rng.integers(len(free))] if free else 0
        color, deep, stall = pick(rng, shapes.PLAINS + shapes.WOODS), 1.3, rng.uniform(0.9, 1.05)
        start = -self.length(side) / 2
        for i in range(int(self.length(side) / stall)):
            u = start + (i + 0.5) * stall
            toilet, model = self.choose("toilet", 0.05)
            self.put("clutter", model, self.at_wall(toilet.moved((u, -toilet.upper[1] - 0.02, 0)), side))
            partition = shapes.panel(deep, 1.95, color).moved((start + (i + 1) * stall, -deep / 2 - 0.005, 0))
            self.put("wall", "", self.at_wall(partition, side))
        for _ in range(rng.integers(2, 4)):
            self.against_wall("clutter", *self.choose("washbasin", 0.03))
        self.on_wall("clutter", "", shapes.poster(rng).tinted(np.array([0.9, 1.1, 1.2])), (1.2, 1.4))
        for _ in range(rng.integers(1, 3)):
            self.against_wall("clutter", shapes.bin_(rng), "")
        if rng.random() < 0.5:
            self.against_wall("chair", *self.choose("chair", 0.05))
        self.floor_things(rng.integers(1, 3))

    def pantry(self) -> None:
        rng = self.rng
        thing = None
        for length in (rng.uniform(2.0, 2.6), 1.8, 1.5, 1.2):
            thing = thing or self.against_wall("table", shapes.counter(rng, length), "", top=0.905)
        self.against_wall("clutter", shapes.fridge(rng), "")
        if thing is not None:
            side, length = self.side_of(thing), float(thing.mesh.size[:2].max())
            centre = (thing.mesh.lower + thing.mesh.upper)[:2] / 2 - np.array(self.middle(side)[:2])
            u = float(self.at_wall_direction(side) @ centre)
            cupboard = self.at_wall(shapes.wall_cupboard(rng, length * rng.uniform(0.6, 1.0)).moved((u, 0, 1.4)), side)
            self.put("clutter", "", cupboard)
            for _ in range(4):
                self.on_top(thing, 0.905, "kitchen thing")
        for _ in range(rng.integers(1, 3)):
            self.table_place(rng.integers(2, 5))
        for _ in range(rng.integers(0, 2)):
            self.against_wall("bookcase", *self.own_or_model("bookcase", 0.75, shapes.bookcase))
        if rng.random() < 0.4:
            self.against_wall("sofa", *self.own_or_model("sofa", 0.5, shapes.sofa))
        for _ in range(rng.integers(1, 3)):
            self.against_wall("chair", *self.choose("chair", 0.05))
        self.floor_things(rng.integers(2, 4))

    def fittings(self) -> None:
        """What every room has: things on tables and bookcases, on the walls and under the ceiling."""
        rng, plan = self.rng, self.plan
        for thing, top in self.tops:
            area = np.prod(thing.mesh.size[:2])
            for _ in range(int(rng.integers(1, 3) + 1.2 * area)):
                self.on_top(thing, top, "desk thing")
        for thing in [thing for thing in plan.things if thing.label == "bookcase" and not thing.model]:
            if rng.random() < 0.45:
                self.put_on(
                    thing, float(thing.mesh.upper[2]), shapes.carton(rng) if rng.random() < 0.6 else shapes.papers(rng)
                )
        for _ in range(rng.integers(1, 3)):
            self.on_wall("clutter", "", shapes.switch(rng), (1.1, 1.6))
        if rng.random() < 0.5:
            self.on_wall("clutter", "", shapes.poster(rng), (1.2, 1.5))
        if rng.random() < 0.4:
            self.on_wall("clutter", "", shapes.radiator(rng), (0.1, 0.15))
        if rng.random() < 0.3:
            self.on_wall("clutter", "", shapes.duct(rng, rng.uniform(1.0, 2.5)), (0.1, 0.5))
        if rng.random() < 0.5:
            self.hang_below("clutter", shapes.vent(rng), rng.uniform(0.6, [plan.width - 0.6, plan.depth - 0.6]))
        length, turn = rng.uniform(0.9, 1.3), rng.integers(2)
        style = rng.bit_generator.state  # all lamps of a room are alike
        for x in np.arange(0.25, 1, 0.5 if plan.width > 3.2 else 1) if plan.width > 3.2 else (0.5,):
            for y in np.arange(0.25, 1, 0.5 if plan.depth > 3.2 else 1) if plan.depth > 3.2 else (0.5,):
                own = np.random.default_rng()
                own.bit_generator.state = style
                lamp = shapes.ceiling_lamp(own, length).turned(np.pi / 2 * turn)
                self.hang_below("clutter", lamp, np.array([x * plan.width, y * plan.depth]))

    # --- placing

    def length(self, side: int) -> float:
        return (self.plan.width, self.plan.depth)[side % 2]

    def long_side(self) -> int:
        return int(np.argmax([self.plan.width, self.plan.depth]) + 2 * self.rng.integers(2))

    def middle(self, side: int) -> tuple[float, float, float]:
        w, d = self.plan.width, self.plan.depth
        return ((w / 2, 0.0, 0.0), (w, d / 2, 0.0), (w / 2, d, 0.0), (0.0, d / 2, 0.0))[side]

    def at_wall(self, mesh: Mesh, side: int) -> Mesh:
        """A mesh given in a wall's frame (x along it, y = 0 its surface, the room at y < 0), in the room."""
        return mesh.turned(ANGLES[side]).moved(self.middle(side))

    def at_wall_direction(self, side: int) -> np.ndarray:
        """Unit vector (2,) of a wall's x."""
        return np.array([np.cos(ANGLES[side]), np.sin(ANGLES[side])])

    def choose(self, category: str, vary: float) -> tuple[Mesh, str]:
        """A model of a category, scaled by up to ``vary`` and tinted."""
        rng, models = self.rng, MODELS[category]
        model = models[rng.integers(len(models))]
        mesh = self.catalogue.mesh(model).scaled(1 + rng.uniform(-vary, vary, 3))
        return mesh.tinted(rng.uniform(0.75, 1.15) * rng.uniform(0.9, 1.1, 3)), model

    def own_or_model(self, category: str, own: float, make: Callable[[np.random.Generator], Mesh]) -> tuple[Mesh, str]:
        """A parametric thing with probability ``own``, else a model of the category."""
        return (make(self.rng), "") if self.rng.random() < own else self.choose(category, 0.06)

    def put(self, label: str, model: str, mesh: Mesh) -> bool:
        thing = Thing(label, model, mesh)
        if self.plan.fits(thing):
            self.plan.things.append(thing)
            return True
        return False

    def against_wall(
        self, label: str, mesh: Mesh, model: str, sides: tuple[int, ...] = (0, 1, 2, 3), top: float = 0.0
    ) -> Thing | None:
        """Stand a mesh with its back to a wall; ``top`` is the height of a table top that may carry things."""
        rng = self.rng
        for _ in range(40):
            side = sides[rng.integers(len(sides))]
            room = self.length(side) / 2 - mesh.size[0] / 2 - 0.02
            if room < 0:
                continue
            u = rng.uniform(-room, room) if rng.random() < 0.7 else rng.choice([-room, room])
            centre = (mesh.lower + mesh.upper)[0] / 2
            gap = rng.uniform(0.015, 0.05)
            if self.put(label, model, self.at_wall(mesh.moved((u - centre, -mesh.upper[1] - gap, 0)), side)):
                thing = self.plan.things[-1]
                if top:
                    self.tops.append((thing, top))
                return thing
        return None

    def anywhere(self, label: str, mesh: Mesh, model: str, free: float = 0.0) -> Thing | None:
        """Stand a mesh on the floor, ``free`` metres away from the walls at least."""
        rng, plan = self.rng, self.plan
        for _ in range(30):
            turned = mesh.turned(ANGLES[rng.integers(4)] + rng.normal(0, 0.12) * (free == 0))
            half = turned.size[:2] / 2 + free
            room = np.array([plan.width, plan.depth])
            if (2 * half > room).any():
                continue
            centre = rng.uniform(half, room - half) - (turned.lower + turned.upper)[:2] / 2
            if self.put(label, model, turned.moved((*centre, 0))):
                return plan.things[-1]
        return None

    def desk_place(self) -> None:
        """A desk against a wall with a chair, a screen and a keyboard."""
        rng = self.rng
        if rng.random() < 0.65:
            mesh, model = shapes.desk(rng), ""
        else:
            mesh, model = self.choose("table", 0.05)
        thing = self.against_wall("table", mesh, model)
        if thing is None:
            return
        top = float(thing.mesh.upper[2])
        self.tops.append((thing, top))
        side = self.side_of(thing)
        for _ in range(rng.integers(1, 3)):
            self.put_on(thing, top, shapes.monitor(rng), ANGLES[side] + rng.normal(0, 0.2))
        self.put_on(thing, top, shapes.keyboard(rng), ANGLES[side])
        chair, model = self.choose("office chair" if rng.random() < 0.8 else "chair", 0.05)
        self.draw_up(thing, "chair", chair, model, side)

    def table_place(self, chairs: int) -> None:
        """A table somewhere in the room with chairs around it."""
        mesh, model = self.own_or_model(
            "table", 0.5, lambda r: shapes.table(r, r.uniform(0.9, 1.5), r.uniform(0.7, 0.9), r.uniform(0.7, 0.77))
        )
        thing = self.anywhere("table", mesh, model, free=0.3) or self.against_wall("table", mesh, model)
        if thing is not None:
            self.tops.append((thing, float(thing.mesh.upper[2])))
            self.chairs_around(thing, "chair", chairs)

    def side_of(self, thing: Thing) -> int:
        """The wall that a thing stands against."""
        lower, upper = thing.mesh.lower, thing.mesh.upper
        return int(np.argmin((lower[1], self.plan.width - upper[0], self.plan.depth - upper[1], lower[0])))

    def before(self, thing: Thing, label: str, mesh: Mesh, model: str, gap: float) -> bool:
        """Stand a mesh before a thing that stands against a wall."""
        side = self.side_of(thing)
        inward = np.array([(0.0, 1.0), (-1.0, 0.0), (0.0, -1.0), (1.0, 0.0)][side])
        turned = mesh.turned(ANGLES[side])
        reach = np.abs(inward) @ (thing.mesh.size + turned.size)[:2] / 2 + gap
        centre = (thing.mesh.lower + thing.mesh.upper)[:2] / 2 + inward * reach
        return self.put(label, model, turned.moved((*(centre - (turned.lower + turned.upper)[:2] / 2), 0)))

    def draw_up(self, table: Thing, label: str, mesh: Mesh, model: str, side: int, shift: float = 0.0) -> bool:
        """Draw a chair up to the table's side that looks away from wall ``side``, as far under it as it goes."""
        rng = self.rng
        outward = np.array([(0.0, 1.0), (-1.0, 0.0), (0.0, -1.0), (1.0, 0.0)][side])
        along = np.array([-outward[1], outward[0]])
        turned = mesh.turned(ANGLES[side] + np.pi + rng.normal(0, 0.15))
        middle = (table.mesh.lower + table.mesh.upper)[:2] / 2 - (turned.lower + turned.upper)[:2] / 2
        limit = np.abs(outward) @ (table.mesh.size + turned.size)[:2] / 2
        for under in (rng.uniform(0.1, 0.3), rng.uniform(0, 0.1), -0.03, -rng.uniform(0.1, 0.3)):
            if self.put(label, model, turned.moved((*(middle + outward * (limit - under) + along * shift), 0))):
                return True
        return False

    def chairs_around(self, table: Thing, category: str, count: int) -> None:
        rng = self.rng
        base, model = self.choose(category, 0.05)
        slots = []
        for side in range(4):
            extent = table.mesh.size[side % 2]
            seats = max(1, int(extent / 0.72))
            slots += [(side, (k + 0.5) / seats * extent - extent / 2) for k in range(seats)]
        for slot in rng.permutation(len(slots)):
            if count == 0:
                return
            side, shift = slots[slot]
            count -= self.draw_up(table, "chair", base, model, side, shift + rng.normal(0, 0.04))

    def on_top(self, table: Thing, top: float, category: str) -> None:
        """Lay something small on a table: a model of the category or something parametric."""
        rng = self.rng
        if rng.random() < 0.5:
            mesh, model = self.choose(category, 0.05)
        else:
            mesh, model = (shapes.papers, shapes.mug, shapes.papers, shapes.keyboard)[rng.integers(4)](rng), ""
        self.put_on(table, top, mesh, ANGLES[rng.integers(4)] + rng.normal(0, 0.3), model)

    def put_on(self, thing: Thing, top: float, mesh: Mesh, angle: float | None = None, model: str = "") -> bool:
        rng, lower, upper = self.rng, thing.mesh.lower, thing.mesh.upper
        turned = mesh.turned(ANGLES[self.side_of(thing)] if angle is None else angle)
        half = turned.size[:2] / 2
        if (2 * half > (upper - lower)[:2]).any():
            return False
        for _ in range(12):
            centre = rng.uniform(lower[:2] + half, upper[:2] - half) - (turned.lower + turned.upper)[:2] / 2
            if self.put("clutter", model, turned.moved((*centre, top + 0.001))):
                return True
        return False

    def on_wall(self, label: str, model: str, mesh: Mesh, low: tuple[float, float], reach: float = 0.0) -> bool:
        """Hang a mesh on a free piece of wall, its lower edge between the heights ``low``."""
        rng = self.rng
        for _ in range(30):
            side = int(rng.integers(4))
            room = self.length(side) / 2 - mesh.size[0] / 2 - 0.05
            if room < 0:
                continue
            u, z = rng.uniform(-room, room), rng.uniform(*low) - mesh.lower[2]
            mounted = mesh.moved((u, -max(mesh.upper[1], 0.0) - 0.002, z))
            if self.put(label, model, self.at_wall(mounted, side)):
                if reach:
                    x, lower, upper = mesh.size[0] / 2, mounted.lower[2], mounted.upper[2]
                    before = self.at_wall(box((u - x, -reach, lower), (u + x, 0, upper), np.zeros(3)), side)
                    self.plan.clear.append((before.lower, before.upper))
                return True
        return False

    def hang_below(self, label: str, mesh: Mesh, place: np.ndarray) -> bool:
        """Hang a mesh under the ceiling near a place (2,)."""
        for _ in range(10):
            if self.put(label, "", mesh.moved((*place, self.plan.height))):
                return True
            place = place + self.rng.normal(0, 0.2, 2)
        return False

    def floor_things(self, count: int) -> None:
        """Bins, bags, boxes and plants on the floor, mostly along the walls."""
        rng = self.rng
        for _ in range(count):
            kind = rng.integers(6)
            if kind == 0:
                mesh, model = shapes.bin_(rng), ""
            elif kind == 1:
                mesh, model = shapes.carton(rng), ""
            elif kind == 2:
                mesh, model = self.choose("plant", 0.1)
            elif kind == 3 and self.kind != "WC" and rng.random() < 0.4:
                mesh, model = self.choose("tall thing", 0.05)
            else:
                mesh, model = self.choose("floor thing", 0.08)
            if model.endswith("#whiteBoard"):
                self.against_wall("board", mesh, model)
            elif rng.random() < 0.75:
                self.against_wall("clutter", mesh, model)
            else:
                self.anywhere("clutter", mesh, model)
