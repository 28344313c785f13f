"""The widget to click on rooms with: a WebGL module of our own (picker.js) in front of a ``Session``.

No room travels in the widget's state, so a notebook that shows a picker stays small: the browser asks for the room that
it shows and gets its points as binary messages, positions in 16 bits along each side of the room.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from IPython import get_ipython

from otoc_lib.annotation.assist import Proposal, propose
from otoc_lib.annotation.session import Session
from otoc_lib.errors import OtocError
from otoc_lib.palette import distinct_colors
from otoc_lib.scene import Scene
from otoc_lib.spacing import point_spacing

STEPS = 65535  # of the positions along each side of the room's box


class Picker(anywidget.AnyWidget):
    """Click on the rooms of a session: display it in JupyterLab.

    Args:
        session: gets every click, and saves it.
        predictions: scene name -> probabilities float [M, C] of its super-voxels by a model, to colour the room by and
            to propose clicks from; rooms without one are shown without.
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
        if not 0 <= index < len(self.session.scenes):
            raise OtocError(f"there is no room {index}; the session has {len(self.session.scenes)}, counted from 0")
        self._shown = index
        self._send_room()

    def refresh(self) -> None:
        """Show what the session holds by now, after it was changed from Python."""
        self._send_room()

    def _receive(self, _: Any, message: Mapping[str, Any], __: list) -> None:
        """Answer one message of the browser; its actions are numbered and every one is answered."""
        try:
            if message["kind"] == "open":
                self._shown = message.get("index", self._shown)
                self._send_room()
            elif message["kind"] == "clock":
                self.session.spend(message["room"], message["seconds"])
            elif message["kind"] == "action":
                if message["number"] not in self._answered:
                    self.session.apply(message["room"], message["changes"], message["seconds"])
                    self._answered.add(message["number"])
                self.send({"kind": "saved", "number": message["number"], **self._state(message["room"])})
        except OtocError as error:  # a click on other data would be wrong however often it came
            kind = "refused" if message["kind"] == "action" else "error"
            self.send({"kind": kind, "number": message.get("number"), "text": str(error)})
        except OSError as error:  # a full disk: the browser keeps the click and sends it again
            self.send({"kind": "error", "text": f"{self.session.path.name} cannot be written: {error}"})

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

    def _send_room(self) -> None:
        scene = self.session.scenes[self._shown]
        low, step, buffers = pack_room(scene)
        state = self._state(scene.name)
        message = {
            **state,
            "kind": "room",
            "name": scene.name,
            "index": self._shown,
            "rooms": [(room.name, len(self.session.clicks_of(room.name))) for room in self.session.scenes],
            "points": scene.num_points,
            "low": low.tolist(),
            "step": step.tolist(),
            "spacing": disc_size(scene.coords),
            "seconds": self.session.seconds_of(scene.name),
            "classes": {"names": scene.label_set.names, "colors": distinct_colors(len(scene.label_set)).tolist()},
            "text": f"{scene.num_points:,} points, {scene.num_supervoxels} super-voxels. Click each object once",
        }
        if scene.name in self.predictions:
            probabilities = self.predictions[scene.name]
            if probabilities.shape != (scene.num_supervoxels, len(scene.label_set)):
                raise OtocError(
                    f"scene {scene.name}: predictions of shape {probabilities.shape} for {scene.num_supervoxels} "
                    f"super-voxels and {len(scene.label_set)} classes"
                )
            message["proposals"] = [list(_plain(proposal)) for proposal in propose(scene, probabilities)]
            buffers.append(probabilities.argmax(axis=1).astype(np.uint8).tobytes())
        self.send(message, buffers)


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


def _plain(proposal: Proposal) -> tuple[int, int, int]:
    return proposal.supervoxel, proposal.point, proposal.label
