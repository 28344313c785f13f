"""The picker on a bare page: its own JavaScript and its own Python, without JupyterLab between them."""

import base64
from pathlib import Path

from otoc_lib.annotation import picker as picker_module
from otoc_lib.annotation.picker import Picker

ADDRESS = "http://localhost/picker"
VIEW = "document.querySelector('.otoc-picker canvas').otoc"
FOLDER = Path(picker_module.__file__).parent
# What anywidget gives a widget: get, send, on and off; a message is answered by what Python sent meanwhile.
HOST = """async ([source, journal]) => {
  const listeners = new Set();
  window.unanswered = 0;
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const model = {
    get: () => journal,
    on: (name, listener) => listeners.add(listener),
    off: (name, listener) => listeners.delete(listener),
    send: async (message) => {
      window.unanswered += 1;
      for (const [content, buffers] of await window.toPython(message)) {
        for (const listener of listeners) listener(content, buffers.map(bytes));
      }
      window.unanswered -= 1;
    },
  };
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const widget = (await import(url)).default();
  widget.initialize({ model });
  widget.render({ model, el: document.body });
}"""


def open_picker(page, picker: Picker, monkeypatch) -> None:
    """Show a picker on the page, and wait until its room is drawn."""
    sent: list = []
    monkeypatch.setattr(Picker, "send", lambda self, content, buffers=None: sent.append((content, buffers or [])))

    def receive(message):
        del sent[:]
        picker._receive(picker, message, [])
        return [[content, [base64.b64encode(data).decode() for data in buffers]] for content, buffers in sent]

    style = (FOLDER / "picker.css").read_text(encoding="utf-8")
    html = f"<!doctype html><meta charset='utf-8'><style>{style}</style><body>"
    page.route(ADDRESS, lambda route: route.fulfill(body=html, content_type="text/html"))
    page.expose_function("toPython", receive)
    page.goto(ADDRESS)
    page.evaluate(HOST, [(FOLDER / "picker.js").read_text(encoding="utf-8"), picker.journal])
    page.wait_for_function(f"{VIEW}?.room && {VIEW}.drawn")
    wait_still(page)


def wait_still(page) -> None:
    """Until the camera stands, the outline has stopped pulsing and everything is drawn, saved and answered."""
    page.wait_for_function(f"{VIEW}.still && {VIEW}.link.pending.size === 0 && window.unanswered === 0")
