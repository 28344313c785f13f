"""The widget to click on rooms with: a WebGL module of our own (picker.js) in front of a ``Session``.

No room travels in the widget's state, so a notebook that shows a picker stays small: the browser asks for the room that
it shows and gets its points as binary messages, positions in 16 bits along each side of the room, and the triangles of
its mesh where it has one.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from IPython import get_ipython

from otoc_lib.annotation.assist import Doubt, contradicted, propose
from otoc_lib.annotation.session import Session
from otoc_lib.errors import CannotWriteError, OtocError, shown
from otoc_lib.labels import NO_CLASS
from otoc_lib.scene import Scene
from otoc_lib.spacing import point_spacing

STEPS = 65535  # of the positions along each side of the room's box

# What a message of the browser holds beside its kind; the index of "open" may be missing.
MESSAGES = {
    "open": {"index"},
    "clock": {"room", "seconds"},
    "keep": {"room", "point"},
    "action": {"number", "room", "changes", "seconds"},
}
LARGEST = 2**53 - 1  # number of an action: as far as a browser counts exactly


class Picker(anywidget.AnyWidget):
    """Click on the rooms of a session: display it in JupyterLab. Classes have the colours of the rooms' label set, as
    they have in figures and labelled scans.

    Args:
        session: gets every click, and saves it.
        predictions: scene name -> probabilities float [M, C] of its super-voxels by a model, to colour the room by, to
            ask about clicks that it contradicts, and to propose clicks from; rooms without one are shown without.
    """

    _esm = Path(__file__).with_name("picker.js")
    _css = Path(__file__).with_name("picker.css")
    journal = traitlets.Unicode().tag(sync=True)  # the file, without its path: where the browser keeps unsaved clicks

    def __init__(self, session: Session, predictions: Mapping[str, np.ndarray] | None = None):
        digest = hashlib.blake2b(str(session.path.resolve()).encode(), digest_size=8).hexdigest()
        super().__init__(journal=digest)
        self.session = session
        self.predictions = dict(predictions or {})
        self._shown = session.resume_at()
        self._answered: set[int] = set()
        self.on_msg(self._receive)

    def show_room(self, index: int) -> None:
        """Show a room in every view of this widget."""
        self._send_room(index)

    def refresh(self) -> None:
        """Show what the session holds by now, after it was changed from Python."""
        self._send_room(self._shown)

    def _receive(self, _: Any, message: Any, __: list) -> None:
        """Answer one message of the browser; its actions are numbered and every one is answered.

        Whatever comes, nothing is raised: a message that is wrong changes nothing, and the browser is told why.
        """
        fields = message if isinstance(message, dict) else {}
        number = fields.get("number")
        about = {"number": number if _is_whole(number, LARGEST) else None}
        try:
            _check_message(message)
            if message["kind"] == "open":
                self._send_room(message.get("index", self._shown))
            elif message["kind"] == "clock":
                self.session.spend(message["room"], message["seconds"])
            elif message["kind"] == "keep":
                self.session.keep(message["room"], message["point"])
            else:
                if number not in self._answered:
                    self.session.apply(message["room"], message["changes"], message["seconds"])
                    self._answered.add(number)
                self.send({"kind": "saved", "number": number, **self._state(message["room"])})
        except CannotWriteError as error:  # the browser keeps the click and sends it again
            self.send({"kind": "error", **about, "text": str(error)})
        except OtocError as error:  # a click on other data would be wrong however often it came
            kind = "refused" if fields.get("kind") == "action" else "error"
            self.send({"kind": kind, **about, "text": str(error)})
        except OSError as error:
            self.send({"kind": "error", **about, "text": f"{self.session.path.name} cannot be written: {error}"})
        except Exception as error:  # a fault of ours: the browser keeps the click, and the next message is read
            self.send({"kind": "error", **about, "text": f"the kernel failed: {type(error).__name__}: {error}"})

    def _state(self, name: str) -> dict[str, Any]:
        """What the browser shows of a room's clicks."""
        clicks = self.session.clicks_of(name)
        mixed = self.session.mixed(name)
        warning = None
        if mixed:
            both = " and ".join(next(reversed(mixed.values())))
            warning = f"One super-voxel is clicked as {both}; only one of them counts there. U undoes, X clears it"
        return {
            "room": name,
            "clicks": list(zip(clicks.points.tolist(), clicks.classes.tolist(), strict=True)),
            "labels": list(self.session.labels_of(name).items()),
            "warning": warning,
        }

    def _send_room(self, index: int) -> None:
        rooms = self.session.scenes
        if not _is_whole(index, len(rooms) - 1):
            raise OtocError(f"there is no room {shown(index)}; the session has {len(rooms)}, counted from 0")
        scene = rooms[index]
        low, step, buffers = pack_room(scene)
        state = self._state(scene.name)
        message = {
            **state,
            "kind": "room",
            "name": scene.name,
            "index": index,
            "rooms": [(room.name, len(self.session.clicks_of(room.name)), len(self._doubts(room))) for room in rooms],
            "points": scene.num_points,
            "low": low.tolist(),
            "step": step.tolist(),
            "spacing": disc_size(scene.coords),
            "seconds": self.session.seconds_of(scene.name),
            "classes": {"names": scene.label_set.names, "colors": scene.label_set.colors, "none": NO_CLASS},
            "text": f"{scene.num_points:,} points, {scene.num_supervoxels} super-voxels. Click each object once",
        }
        if scene.name in self.predictions:
            probabilities = self.predictions[scene.name]
            if not self._fits(scene):
                raise OtocError(
                    f"scene {scene.name}: predictions of shape {probabilities.shape} for {scene.num_supervoxels} "
                    f"super-voxels and {len(scene.label_set)} classes"
                )
            message["proposals"] = [  # a wrong click costs more than a missing one
                *([doubt.supervoxel, doubt.point, doubt.label, doubt.given] for doubt in self._doubts(scene)),
                *([asked.supervoxel, asked.point, asked.label, None] for asked in propose(scene, probabilities)),
            ]
            buffers.append(probabilities.argmax(axis=1).astype(np.uint8).tobytes())
        try:
            faces = self.session.faces(scene.name)
            if faces is not None and faces.max(initial=0) >= scene.num_points:
                raise OtocError("the mesh in its file has more vertices by now; open the rooms again")
        except OtocError as error:  # the room can be clicked without them
            faces, message["text"] = None, f"Drawn as points: {error}"
        if faces is not None:
            message["faces"] = len(faces)
            buffers.append(faces.astype("<u4").tobytes())
        self._shown = index
        self.send(message, buffers)

    def _doubts(self, scene: Scene) -> list[Doubt]:
        """The clicks of a room that its prediction contradicts and nobody kept; none without one, or where it is of
        another room."""
        if not self._fits(scene):
            return []
        doubts = contradicted(scene, self.session.clicks_of(scene.name), self.predictions[scene.name])
        kept = self.session.kept(scene.name)
        return [doubt for doubt in doubts if doubt.point not in kept]

    def _fits(self, scene: Scene) -> bool:
        predicted = self.predictions.get(scene.name)
        return predicted is not None and predicted.shape == (scene.num_supervoxels, len(scene.label_set))


def _check_message(message: Any) -> None:
    """OtocError unless a message has a known kind and its fields; what those hold is checked where it is used."""
    kind = message.get("kind") if isinstance(message, dict) else None
    if not isinstance(kind, str) or kind not in MESSAGES:
        raise OtocError(f"the page sent a message of no known kind ({shown(kind)}); reload it")
    missing = {name for name in MESSAGES[kind] - {"index"} if message.get(name) is None}
    unknown = message.keys() - MESSAGES[kind] - {"kind"}
    if missing or unknown:
        fault = f"lacks {min(missing)!r}" if missing else f"has an unknown {shown(min(unknown, key=str))}"
        raise OtocError(f"the page sent a message of kind {kind!r} that {fault}; reload it")
    if kind == "action" and not _is_whole(message["number"], LARGEST):
        raise OtocError(f"the page numbered an action {shown(message['number'])}; reload it")


def _is_whole(value: Any, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest


def pack_room(scene: Scene) -> tuple[np.ndarray, np.ndarray, list[bytes]]:
    """A room as the browser gets it.

    Returns:
        low, step: float64 [3] metres; a point lies at ``low + step * position``.
        buffers: positions uint16 [N, 3], colours uint8 [N, 3] and super-voxel ids uint32 [N], little-endian.
    """
    low = scene.coords.min(axis=0).astype(np.float64)
    step = np.maximum((scene.coords.max(axis=0) - low) / STEPS, 1e-9)
    positions = np.rint((scene.coords - low) / step).astype("<u2")
    return low, step, [positions.tobytes(), scene.colors.tobytes(), scene.supervoxels.astype("<u4").tobytes()]


def disc_size(coords: np.ndarray) -> float:
    """Metres: the spacing of points [N, 3], and something to see where there is one point or many in one place."""
    return 0.01 if len(coords) < 2 else max(point_spacing(coords), 1e-3)


def person_present() -> bool:
    """Whether the front end can ask questions: JupyterLab can, papermill and nbconvert cannot."""
    shell = get_ipython()
    return bool(getattr(getattr(shell, "kernel", None), "_allow_stdin", False))
