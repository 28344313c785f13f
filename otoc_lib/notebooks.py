"""Executes notebooks by papermill, for ``otoc run`` and the Snakefile: ``python -m otoc_lib.notebooks run | declare``.

``run`` writes the executed notebook beside the others, reports/<profile>/notebooks/<notebook>.<run>.ipynb. ``declare``
renews the cell of every notebook that says which parameters there are: papermill warns of names that it does not find
there, and its --help-notebook lists them.
"""

import argparse
import contextlib
import html
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otoc_lib.config import EXTENDS, Config, changed_config, parameter_lines, project_root, read_params
from otoc_lib.errors import OtocError
from otoc_lib.files import write_bytes

FOLDER = "notebooks"  # of the notebooks in the project, and of the executed ones in a report
SHUTDOWN_SECONDS = 60.0  # for a kernel to end; after half of them it gets SIGTERM
DECLARATION = "all-parameters"  # id of the cell that declares them


# --- run --------------------------------------------------------------------------------------------------------------


def executed_path(notebook: str, config: Config) -> Path:
    """Where the executed notebook of a run lies."""
    return config.report_folder / FOLDER / f"{notebook}.{config.run_name}.ipynb"


def execute(notebook: str, path: Path, changes: Mapping[str, Any]) -> Path:
    """Run a notebook on a params file, with other values of some parameters; what its kernel says goes to stderr.

    Parameters are checked before a kernel starts. An interrupt reaches the kernel, which saves what it has; SIGTERM is
    taken for one.

    Args:
        notebook: its name without .ipynb.

    Returns:
        The executed notebook; it is there after a failure, too, with the traceback.

    Raises:
        OtocError: the notebook stopped with one, or with another error, which is named.
        KeyboardInterrupt: it was interrupted.
    """
    import nbclient.exceptions
    import papermill

    config = changed_config(path, changes)
    parameters = read_params(path) | dict(changes)
    out = executed_path(notebook, config)
    out.parent.mkdir(parents=True, exist_ok=True)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        papermill.execute_notebook(
            project_root() / FOLDER / f"{notebook}.ipynb",
            out,
            parameters,
            progress_bar=False,
            stderr_file=sys.stderr,
            kernel_manager_class=_kernel_manager(),
        )
    except papermill.PapermillExecutionError as error:
        if error.ename == "KeyboardInterrupt":
            raise KeyboardInterrupt from None
        if error.ename in ("OtocError", "CannotWriteError"):
            raise OtocError(error.evalue) from None
        where = f"stopped in cell [{error.exec_count}] with {error.ename}: {error.evalue}"
        raise OtocError(f"{notebook} {where}; its traceback is in {os.path.relpath(out)}") from None
    except KeyboardInterrupt:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it would tell of the cell that the interrupt ended
        raise
    except nbclient.exceptions.DeadKernelError:
        raise OtocError(
            f"{notebook}: its kernel died, maybe for want of memory; the same command goes on from what is finished"
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)
        with contextlib.suppress(FileNotFoundError, ValueError):  # stopped before it was written, or half-way
            keep_last_states(out)
    return out


def keep_last_states(path: Path) -> None:
    """Leave of every progress bar in an executed notebook its last state; each redrawing is an output by itself.

    The paths that papermill notes become relative to the project: on another machine they lead nowhere.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    noted = notebook.get("metadata", {}).get("papermill", {})
    for name in ("input_path", "output_path"):
        if noted.get(name):
            noted[name] = Path(os.path.relpath(noted[name], project_root())).as_posix()
    for cell in notebook["cells"]:
        joined: list[dict[str, Any]] = []
        for output in cell.get("outputs", []):
            stream = output.get("name") if output["output_type"] == "stream" else None
            if stream and joined and joined[-1].get("name") == stream:
                joined[-1]["text"] += "".join(output["text"])
            else:
                joined.append({**output, "text": "".join(output["text"])} if stream else output)
        for output in joined:
            if output["output_type"] == "stream":
                lines = [line.rstrip("\r").rpartition("\r")[2] for line in output["text"].split("\n")]
                output["text"] = "\n".join(lines)
        if "outputs" in cell:
            cell["outputs"] = joined
    write_bytes(path, (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode())


def _kernel_manager() -> type:
    """Starts kernels without a terminal of their own, where they speak of sockets; the notebook's words come anyway.

    A kernel is interrupted once, however often that is asked for: it saves at the first interrupt and would break off
    at a second, and papermill's client asks twice, on a busy machine long after. It is given the time to end a step and
    to save.
    """
    from jupyter_client.manager import AsyncKernelManager

    class PatientManager(AsyncKernelManager):
        interrupted = False

        def start_kernel(self, **options: Any) -> Any:
            self.shutdown_wait_time = SHUTDOWN_SECONDS
            return super().start_kernel(stderr=subprocess.DEVNULL, **options)

        async def _async_interrupt_kernel(self) -> None:  # by which the others interrupt, too
            if not self.interrupted:
                self.interrupted = True
                await super()._async_interrupt_kernel()

        interrupt_kernel = _async_interrupt_kernel

    return PatientManager


# --- declare ----------------------------------------------------------------------------------------------------------


def declaration() -> str:
    """The Markdown of the cell that declares every parameter: folded, one ``name = default  # what it can be`` a line.

    papermill reads such lines in the cell tagged ``parameters``. This one is no code, so that a parameter that nobody
    gives stays what the params file says.
    """
    title = "Every parameter and its default; the params file, papermill's -f and -p, or a line above give other values"
    lines = [*parameter_lines(), f"{EXTENDS} = None  # a params file whose lines come first"]
    # The anchor has an equals sign: papermill would take a last line without one for part of the last parameter.
    return "\n".join(
        [
            f"<details><summary>{title}</summary><pre>",
            *(html.escape(line, quote=False) for line in lines),
            '</pre><a id="end-of-parameters"></a></details>',
        ]
    )


def declare(path: Path) -> None:
    """Renew the cell of a notebook that declares the parameters, behind its first code cell."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["id"] != DECLARATION]
    first = next(place for place, cell in enumerate(cells) if cell["cell_type"] == "code")
    cells[first]["metadata"] = {}
    source = declaration().splitlines(keepends=True)
    cell = {"cell_type": "markdown", "id": DECLARATION, "metadata": {"tags": ["parameters"]}, "source": source}
    notebook["cells"] = [*cells[: first + 1], cell, *cells[first + 1 :]]
    write_bytes(path, (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m otoc_lib.notebooks", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, dest="command")
    run = commands.add_parser("run", help="run one notebook on a params file with one seed")
    run.add_argument("notebook", help="its name without .ipynb")
    run.add_argument("params", type=Path)
    run.add_argument("seed", type=int)
    commands.add_parser("declare", help="renew the cell of every notebook that declares the parameters")
    options = parser.parse_args(arguments)
    try:
        if options.command == "declare":
            for path in sorted((project_root() / FOLDER).glob("*.ipynb")):
                declare(path)
        else:
            execute(options.notebook, options.params, {"seed": options.seed})
    except OtocError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
