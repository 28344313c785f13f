"""The plan of a room: its shell, what stands in it and where; nothing intersects anything else.

A room combines two or three functions (bathroom, kitchen, bedroom, living room, office), so that a small room holds
many classes. Furniture stands against walls or around tables; small things stand on tops; doors, windows, pictures
and curtains hang on walls. Intersections are tested on axis-aligned boxes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from otoc_lib.simulate import shapes
from otoc_lib.simulate.catalogue import Catalogue
from otoc_lib.simulate.mesh import Mesh
from otoc_lib.simulate.selection import NOVEL, SHARED

FUNCTIONS = (
    ("bath", "bed"),
    ("kitchen", "living"),
    ("bath", "living", "office"),
    ("kitchen", "bed", "office"),
    ("bath", "kitchen"),
    ("living", "bed"),
    ("bath", "bed", "office"),
    ("kitchen", "office", "living"),
)
ANGLES = (np.pi, -np.pi / 2, 0.0, np.pi / 2)  # that turn a model's back to the south, east, north and west wall
GAP = 0.015  # metres between furniture and wall
FREE = np.array([0.01, 0.01, 0.0])  # metres between pieces of furniture
SHELL = ("wall", "floor")
OVERLAP = 0.002  # boxes that share less than this do not intersect


@dataclass(frozen=True)
class Placed:
    """One object in the room; ``host`` is the index of the worktop that a sink is set into, else -1."""

    category: str
    model: str  # id of the catalogue model, "" if parametric
    mesh: Mesh
    host: int = -1

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        return self.mesh.lower, self.mesh.upper


@dataclass
class Plan:
    """A room of x in 0..width, y in 0..depth, z in 0..height and its objects; the floor and walls come first."""

    width: float
    depth: float
    height: float
    objects: list[Placed] = field(default_factory=list)
    clear: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # boxes kept free, in front of doors

    def fits(self, lower: np.ndarray, upper: np.ndarray, host: int = -1) -> bool:
        """Whether a box lies in the room and meets no object but ``host`` and no box that is kept free."""
        if (lower < -OVERLAP).any() or (upper > np.array([self.width, self.depth, self.height]) + OVERLAP).any():
            return False
        solid = [thing.box for i, thing in enumerate(self.objects) if thing.category not in SHELL and i != host]
        return not any(boxes_meet((lower, upper), box) for box in self.clear + solid)

    @property
    def furniture(self) -> list[Placed]:
        return [thing for thing in self.objects if thing.category not in SHELL]


def boxes_meet(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether two boxes share more than OVERLAP along every axis."""
    return bool(((np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])) > OVERLAP).all())


def intersections(plan: Plan) -> list[tuple[str, str]]:
    """Pairs of furniture whose boxes intersect (a sink in its worktop is meant to), and what leaves the room."""
    found = []
    objects = plan.objects
    for i, a in enumerate(objects):
        if a.category in SHELL:
            continue
        lower, upper = a.box
        if (lower < -OVERLAP).any() or (upper > np.array([plan.width, plan.depth, plan.height]) + OVERLAP).any():
            found.append((a.category, "wall"))
        for j in range(i):
            b = objects[j]
            if b.category not in SHELL and a.host != j and boxes_meet(a.box, b.box):
                found.append((a.category, b.category))
    return found


def make_plan(catalogue: Catalogue, seed: int, split: str, index: int) -> Plan:
    """The plan of room ``index`` of a split; the same arguments give the same plan."""
    stream = {"train": 0, "val": 1, "val_novel": 2, "test": 3}[split]
    for attempt in range(20):
        rng = np.random.default_rng([seed, stream, index, attempt])
        # four novel rooms must hold every class: the second half of the list does
        functions = FUNCTIONS[(index + 4 * (split == "val_novel")) % len(FUNCTIONS)]
        builder = _Builder(catalogue, rng, split == "val_novel", functions)
        plan = builder.build()
        if 12 <= builder.counted() <= 25 and not intersections(plan):
            return plan
    raise RuntimeError(f"no plan with 12 to 25 objects for {split} room {index} of seed {seed}")


class _Builder:
    def __init__(self, catalogue: Catalogue, rng: np.random.Generator, novel: bool, functions: tuple[str, ...]):
        self.catalogue, self.rng, self.novel, self.functions = catalogue, rng, novel, functions
        area = {2: rng.uniform(9.3, 11.0), 3: rng.uniform(11.3, 13.2)}[len(functions)]
        ratio = rng.uniform(0.8, 1.25)
        width = float(np.clip(np.sqrt(area * ratio), 3.0, 5.0))
        self.plan = Plan(width, float(np.clip(area / width, 3.0, 5.0)), rng.uniform(2.3, 2.5))

    def counted(self) -> int:
        """Objects of benchmark classes and small things that stand on the floor, beside walls and floor."""
        small = ("lamp", "towel", "laptop", "microwave", "coffee maker", "plant", "tv", "box", "backpack")
        return sum(thing.category not in small for thing in self.plan.furniture)

    def build(self) -> Plan:
        plan, rng = self.plan, self.rng
        self.shell()
        for _ in range(10):
            if self.hang("door"):
                break
        parts = {
            "bath": self.bath,
            "kitchen": self.kitchen,
            "bed": self.bedroom,
            "living": self.living,
            "office": self.office,
        }
        pending = [parts[name]() for name in self.functions]
        for part in pending:  # the large pieces of every function before the small ones of any
            next(part)
        for part in pending:
            next(part, None)
        for _ in range(rng.integers(1, 3)):
            self.window()
        for _ in range(rng.integers(2, 4)):
            self.hang("picture")
        self.filler()
        return plan

    # --- the parts of a room; each yields once, when its large pieces stand

    def shell(self) -> None:
        rng, plan = self.rng, self.plan
        paint = [(225, 220, 205), (215, 222, 228), (235, 228, 200), (205, 220, 205), (228, 210, 200), (222, 222, 222)]
        color = shapes.pick(rng, paint)
        tiles = "bath" in self.functions and rng.random() < 0.6
        plan.objects.append(Placed("floor", "", shapes.floor(rng, plan.width, plan.depth)))
        for side, length in enumerate((plan.width, plan.depth, plan.width, plan.depth)):
            mesh = shapes.wall(rng, length, plan.height, color, tiles).moved((-length / 2, 0, 0)).turned(ANGLES[side])
            plan.objects.append(Placed("wall", "", mesh.moved(self.wall_point(side, length / 2))))

    def bath(self) -> Iterator[None]:
        rng = self.rng
        tub_mesh, tub_model = self.choose("bathtub", 0.6, lambda: shapes.bathtub(rng, self.novel))
        side = self.against_wall("bathtub", tub_mesh, tub_model, corner=True)
        if side is not None:
            tub = self.plan.objects[-1]
            long = tub_mesh.size[0]
            sheet = shapes.shower_curtain(rng, long, self.novel)
            # it hangs just outside the tub's free long side, from above the floor to the rod
            lower, upper = tub.box
            centre = (lower + upper) / 2
            inward = _inward(side)
            reach = tub_mesh.size[1] / 2 + sheet.size[1] / 2 + 0.012
            place = centre[:2] + inward * reach
            self.put("shower curtain", "", sheet.turned(ANGLES[side]), (*place, rng.uniform(0.38, 0.46)))
        yield
        toilet, model = self.choose("toilet", 0.5, None if self.novel else lambda: shapes.toilet(rng))
        self.against_wall("toilet", toilet, model, near="bathtub")
        if rng.random() < 0.45:
            mesh, model = self.choose("sink", 0.0, None)
            self.against_wall("sink", mesh, model, near="toilet")
        else:
            self.worktop(rng.uniform(0.75, 1.0), vanity=True)
        self.above("towel", ["towel"], height=(1.0, 1.3), count=1)
        if rng.random() < 0.6:
            self.against_wall("washing machine", *self.choose("washing machine", 0.0, None))

    def kitchen(self) -> Iterator[None]:
        rng = self.rng
        refrigerator = self.choose("refrigerator", 0.6, lambda: shapes.refrigerator(rng, self.novel))
        self.worktop(rng.uniform(1.5, 2.1), vanity=False)
        self.against_wall("refrigerator", *refrigerator, near="kitchen counter")
        yield
        if rng.random() < 0.5:
            self.against_wall("stove", *self.choose("stove", 0.0, None), near="kitchen counter")
        for _ in range(rng.integers(1, 3)):
            self.hang("kitchen cabinet")
        self.on_top("kitchen counter", ["microwave", "coffee maker"])
        self.table_and_chairs(rng.integers(2, 5))

    def bedroom(self) -> Iterator[None]:
        rng = self.rng
        self.against_wall("bed", *self.choose("bed", 0.0, None), tries=120)
        self.window(with_curtains=True)
        yield
        if rng.random() < 0.7:
            self.against_wall("nightstand", *self.choose("nightstand", 0.0, None), near="bed")
            self.on_top("nightstand", ["lamp"])
        self.against_wall("wardrobe", *self.choose("wardrobe", 0.0, None))
        if rng.random() < 0.5:
            self.against_wall("cabinet", *self.choose("cabinet", 0.0, None))
            self.on_top("cabinet", ["tv", "plant"])

    def living(self) -> Iterator[None]:
        rng = self.rng
        side = self.against_wall("couch", *self.choose("couch", 0.0, None), tries=120)
        sofa = self.plan.objects[-1]
        self.window(with_curtains=True)
        if side is not None:
            mesh, model = self.choose("coffee table", 0.0, None)
            lower, upper = sofa.box
            inward = _inward(side)
            centre = ((lower + upper) / 2)[:2] + inward * (
                np.abs(inward) @ (upper - lower)[:2] / 2 + 0.35 + mesh.size[1] / 2
            )
            self.put("coffee table", model, mesh.turned(ANGLES[side]), (*centre, 0))
        yield
        self.against_wall("bookshelf", *self.choose("bookshelf", 0.6, lambda: shapes.bookshelf(rng, self.novel)))
        self.against_wall("cabinet", *self.choose("cabinet", 0.0, None))
        self.on_top("cabinet", ["tv", "plant"])
        if rng.random() < 0.6:
            self.against_wall("armchair", *self.choose("armchair", 0.0, None), near="couch")

    def office(self) -> Iterator[None]:
        rng = self.rng
        side = self.against_wall("desk", *self.choose("desk", 0.0, None), tries=120)
        if side is not None:
            desk = self.plan.objects[-1]
            lower, upper = desk.box
            inward = _inward(side)
            mesh, model = self.choose(("office chair", "chair")[int(rng.random() < 0.3)], 0.0, None)
            place = ((lower + upper) / 2)[:2] + inward * (
                np.abs(inward) @ (upper - lower)[:2] / 2 + 0.04 + mesh.size[1] / 2
            )
            self.put("office chair", model, mesh.turned(ANGLES[side] + np.pi), (*place, 0))
        self.against_wall("bookshelf", *self.choose("bookshelf", 0.6, lambda: shapes.bookshelf(rng, self.novel)))
        yield
        self.on_top("desk", ["laptop", "lamp"])
        if rng.random() < 0.7:
            self.against_wall("file cabinet", *self.choose("file cabinet", 0.0, None))
            self.on_top("file cabinet", ["plant", "box"])

    def filler(self) -> None:
        """Fill up: more storage along the walls, a bin, a radiator, things on the floor."""
        rng = self.rng
        chances = {
            "trash can": 0.8,
            "wardrobe": 0.6,
            "cabinet": 0.6,
            "chair": 0.6,
            "radiator": 0.5,
            "bookshelf": 0.5,
            "nightstand": 0.6,
        }
        for category in map(str, rng.permutation(list(chances))):
            if self.counted() < 23 and rng.random() < chances[category]:
                own = (lambda: shapes.bookshelf(rng, self.novel)) if category == "bookshelf" else None
                self.against_wall(category, *self.choose(category, 0.6, own))
        if not self.count("dining table") and rng.random() < 0.5:
            self.table_and_chairs(2)
        for category in ("box", "backpack", "plant", "lamp", "box", "plant"):
            if rng.random() < 0.75:
                self.anywhere(category, *self.choose("floor lamp" if category == "lamp" else category, 0.0, None))
        self.on_top("dining table", ["laptop", "plant"])

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

    def put(self, category: str, model: str, mesh: Mesh, offset: tuple = (0, 0, 0), host: int = -1) -> bool:
        """Add a mesh moved by an offset if it fits there; a sink may meet its host."""
        shift = np.asarray(offset)
        fits = self.plan.fits(mesh.lower + shift, mesh.upper + shift, host)
        if fits:
            self.plan.objects.append(Placed(category, model, mesh.moved(offset), host))
        return fits

    def count(self, category: str) -> list[int]:
        return [i for i, thing in enumerate(self.plan.objects) if thing.category == category]

    def wall_point(self, side: int, along: float) -> tuple[float, float, float]:
        plan = self.plan
        return ((along, 0.0, 0.0), (plan.width, along, 0.0), (along, plan.depth, 0.0), (0.0, along, 0.0))[side]

    def against_wall(
        self, category: str, mesh: Mesh, model: str, near: str = "", corner: bool = False, tries: int = 40
    ) -> int | None:
        """Stand a mesh with its back to a wall; the side, or None if it found no room.

        The place nearest to an object of category ``near`` wins where one is given; ``corner`` keeps to the corners.
        """
        rng, plan = self.rng, self.plan
        turned = [mesh.turned(angle) for angle in ANGLES]
        best, best_distance = None, np.inf
        targets = [(thing.mesh.lower + thing.mesh.upper)[:2] / 2 for thing in plan.objects if thing.category == near]
        for _ in range(tries):
            side = int(rng.integers(4))
            length = (plan.width, plan.depth)[side % 2]
            half = mesh.size[0] / 2 + GAP
            along = rng.uniform(half, max(length - half, half))
            if corner or rng.random() < 0.3:
                along = (half, length - half)[rng.integers(2)]
            offset = self.wall_offset(turned[side], side, along, GAP)
            lower, upper = turned[side].lower + offset, turned[side].upper + offset
            if not plan.fits(lower - FREE, upper + FREE):
                continue
            distance = min((float(np.linalg.norm((lower + upper)[:2] / 2 - target)) for target in targets), default=0.0)
            if distance < best_distance:
                best, best_distance = (side, offset), distance
            if not targets:
                break
        if best is None:
            return None
        side, offset = best
        plan.objects.append(Placed(category, model, turned[side].moved(offset)))
        return side

    def wall_offset(self, turned: Mesh, side: int, along: float, gap: float) -> np.ndarray:
        """The shift that brings a turned mesh with its back to a wall, ``gap`` before it, at z as it is."""
        centre = (turned.lower + turned.upper) / 2
        inward = _inward(side)
        place = np.array(self.wall_point(side, along))[:2] + inward * (np.abs(inward) @ turned.size[:2] / 2 + gap)
        return np.array([*(place - centre[:2]), 0.0])

    def anywhere(self, category: str, mesh: Mesh, model: str, tries: int = 30) -> bool:
        """Stand a mesh anywhere on the floor."""
        rng, plan = self.rng, self.plan
        for _ in range(tries):
            turned = mesh.turned(ANGLES[rng.integers(4)])
            half = turned.size[:2] / 2
            room = np.array([plan.width, plan.depth])
            if (2 * half + 0.2 > room).any():
                return False
            centre = rng.uniform(half + 0.1, room - half - 0.1)
            middle = (turned.lower + turned.upper) / 2
            if self.put(category, model, turned, (*(centre - middle[:2]), 0)):
                return True
        return False

    def worktop(self, length: float, vanity: bool) -> None:
        """A counter, nearly always with a sink set into it."""
        rng = self.rng
        has_sink = vanity or rng.random() < 0.8
        size = (
            (rng.uniform(0.42, 0.5), rng.uniform(0.34, 0.38))
            if vanity
            else (rng.uniform(0.5, 0.62), rng.uniform(0.4, 0.44))
        )
        x = 0.0 if vanity else rng.uniform(-0.25, 0.25) * (length - 0.9)
        hole = (x, size[0] - 0.03, size[1] - 0.03) if has_sink else None
        mesh = shapes.counter(rng, length, hole, vanity, self.novel)
        category = "counter" if vanity else "kitchen counter"
        side = self.against_wall(category, mesh, "", near="toilet" if vanity else "", tries=80)
        if side is None or not has_sink:
            return
        host = len(self.plan.objects) - 1
        lower, upper = self.plan.objects[host].box
        sink = shapes.basin(rng, *size, novel=self.novel)
        centre = (lower + upper) / 2
        turned = sink.moved((x, 0, 0)).turned(ANGLES[side])
        self.put("sink", "", turned, (*centre[:2], upper[2] - 0.12 + 0.001), host)

    def table_and_chairs(self, chairs: int) -> None:
        """A table with chairs drawn up to its sides."""
        rng = self.rng
        mesh, model = self.choose("dining table", 0.0, None)
        placed = self.anywhere("dining table", mesh, model, tries=60)
        if not placed:
            placed = self.against_wall("dining table", mesh, model) is not None
        if not placed:
            return
        lower, upper = self.plan.objects[-1].box
        chair_category = "chair"
        models = (NOVEL if self.novel else SHARED)[chair_category]
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
            outward = -_inward(side)
            across = np.array([-outward[1], outward[0]])
            extent = np.abs(across) @ (upper - lower)[:2]
            shift = shift if extent > 1.15 else 0.0
            reach = np.abs(outward) @ (upper - lower)[:2] / 2 + base.size[1] / 2 + rng.uniform(0.01, 0.06)
            place = ((lower + upper) / 2)[:2] + outward * reach + across * shift * extent
            # a chair at the south side of a table faces north: its back is to the south
            turned = base.turned(ANGLES[side])
            chairs -= self.put("chair", model, turned, (*place, 0))

    def on_top(self, host: str, categories: list[str]) -> None:
        """Put small things on top of the latest object of a category."""
        rng, plan = self.rng, self.plan
        hosts = self.count(host)
        if not hosts:
            return
        lower, upper = plan.objects[hosts[-1]].box
        for category in categories:
            mesh, model = self.choose(category, 0.0, None)
            top = upper[2] - (0.12 if host == "kitchen counter" else 0.0) + 0.004
            if host == "desk" and upper[2] > 0.85:
                continue  # its top is not its highest point
            for _ in range(10):
                turned = mesh.turned(rng.uniform(-0.4, 0.4) + ANGLES[rng.integers(4)])
                half = turned.size[:2] / 2
                if (2 * half > (upper - lower)[:2]).any():
                    break
                centre = rng.uniform(lower[:2] + half, upper[:2] - half)
                if self.put(category, model, turned, (*centre, top)):
                    break

    def hang(self, category: str) -> bool:
        """Hang something on a free piece of wall: a door, a picture or a wall cabinet."""
        rng, plan = self.rng, self.plan
        if category == "picture":
            mesh, model, low = shapes.picture(rng, self.novel), "", rng.uniform(1.05, 1.35)
        else:
            mesh, model = self.choose(category, 0.0, None)
            low = 0.0 if category == "door" else rng.uniform(1.35, 1.45)
        if category == "door":
            mesh = mesh.scaled((0.9, 0.09 / mesh.size[1], 0.97))
        if category == "kitchen cabinet":
            mesh = mesh.scaled((1, 1, 0.85))
        half = mesh.size[0] / 2
        for side, along, _ in self.wall_places(half):
            counters = self.count("kitchen counter")
            if category == "kitchen cabinet" and counters:  # above the worktop
                lower, upper = plan.objects[counters[-1]].box
                side = self._side_of(counters[-1])
                along = rng.uniform(lower[side % 2] + half, max(upper[side % 2] - half, lower[side % 2] + half + 0.01))
            if self.on_wall(category, mesh, model, side, along, low):
                if category == "door":
                    lower, upper = (np.array(part) for part in self.plan.objects[-1].box)
                    swing = _inward(side) * 0.55
                    self.plan.clear.append(
                        (np.minimum(lower, lower + [*swing, 0]), np.maximum(upper, upper + [*swing, 0]))
                    )
                return True
        return False

    def wall_places(self, half: float) -> Iterator[tuple[int, float, float]]:
        """Up to 40 random places for something twice ``half`` wide: side, metres along it, and the side's length."""
        for _ in range(40):
            side = int(self.rng.integers(4))
            length = (self.plan.width, self.plan.depth)[side % 2]
            if 2 * half + 0.1 <= length:
                yield side, self.rng.uniform(half + 0.05, length - half - 0.05), length

    def on_wall(self, category: str, mesh: Mesh, model: str, side: int, along: float, low: float) -> bool:
        """Fix a mesh to a wall, its lower edge at height ``low``."""
        turned = mesh.turned(ANGLES[side])
        offset = self.wall_offset(turned, side, along, 0.002)
        return self.put(category, model, turned, (*offset[:2], low - turned.lower[2]))

    def window(self, with_curtains: bool = False) -> None:
        """A window, with a curtain at one or both sides if wanted."""
        rng = self.rng
        mesh = shapes.window(rng, self.novel)
        half = mesh.size[0] / 2
        for side, along, length in self.wall_places(half):
            if not self.on_wall("window", mesh, "", side, along, rng.uniform(0.85, 1.0)):
                continue
            if with_curtains:
                for direction in (-1, 1):
                    cloth = shapes.curtain(rng, self.novel)
                    beside = along + direction * (half + cloth.size[0] / 2 + 0.01)
                    if rng.random() < 0.9 and cloth.size[0] / 2 < beside < length - cloth.size[0] / 2:
                        self.on_wall("curtain", cloth, "", side, beside, 0.12)
            return

    def above(self, category: str, models: list[str], height: tuple[float, float], count: int) -> None:
        """Hang small things on the wall."""
        rng, plan = self.rng, self.plan
        for _ in range(count):
            mesh, model = self.choose(models[rng.integers(len(models))], 0.0, None)
            for _ in range(10):
                side = int(rng.integers(4))
                along = rng.uniform(0.5, (plan.width, plan.depth)[side % 2] - 0.5)
                if self.on_wall(category, mesh, model, side, along, rng.uniform(*height)):
                    break

    def _side_of(self, index: int) -> int:
        """The wall an object stands against."""
        lower, upper = self.plan.objects[index].box
        gaps = (lower[1], self.plan.width - upper[0], self.plan.depth - upper[1], lower[0])
        return int(np.argmin(gaps))


def _inward(side: int) -> np.ndarray:
    """Unit vector (2,) from a wall into the room."""
    return np.array([(0.0, 1.0), (-1.0, 0.0), (0.0, -1.0), (1.0, 0.0)][side])
