"""As much of the API of Kubernetes as Snakemake's executor asks for; a pod is a process in an empty folder here."""

import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: here, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
contexts: [{{name: here, context: {{cluster: here, user: nobody}}}}]
users: [{{name: nobody, user: {{}}}}]
current-context: here
"""


class KubernetesApi:
    """Serves while the block runs. ``jobs`` are the manifests that were posted, by name, in their order.

    Args:
        folder: gets kubeconfig and a folder for each pod: its working directory, ``output`` beside it.
        environment: of the pods, as their image would have it.
    """

    def __init__(self, folder: Path, environment: dict[str, str]):
        self.folder, self.environment = folder, environment
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, subprocess.Popen] = {}
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path.endswith("/jobs"):
                    api.start(body)
                self.answer(201, body)

            def do_GET(self) -> None:
                name = self.path.split("?")[0].removesuffix("/status").rpartition("/")[2]
                if name == "pods":  # what the executor looks for beside the job's own state
                    self.answer(200, {"apiVersion": "v1", "kind": "PodList", "items": []})
                elif name in api.pods:
                    self.answer(200, api.jobs[name] | {"status": api.status(name)})
                else:
                    self.answer(404, {"kind": "Status", "status": "Failure", "code": 404})

            def do_DELETE(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.answer(200, {"kind": "Status", "status": "Success"})

            def answer(self, status: int, body: dict[str, Any]) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> "KubernetesApi":
        self.folder.mkdir()
        self.kubeconfig.write_text(KUBECONFIG.format(port=self.server.server_port))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        for pod in self.pods.values():
            pod.kill()
            pod.wait()

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def start(self, manifest: dict[str, Any]) -> None:
        name = manifest["metadata"]["name"]
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        workdir = self.folder / name / "workdir"
        workdir.mkdir(parents=True)
        given = {variable["name"]: variable.get("value", "") for variable in container.get("env") or []}
        output = (self.folder / name / "output").open("w")
        command = [*container["command"], *container["args"]]
        self.jobs[name] = manifest
        self.pods[name] = subprocess.Popen(
            command, cwd=workdir, env=self.environment | given, stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )

    def status(self, name: str) -> dict[str, int]:
        code = self.pods[name].poll()
        return {"active": 1} if code is None else {"succeeded": 1} if code == 0 else {"failed": 1}

    def outputs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*/output")))


def environment_of_pods(programs: Path) -> dict[str, str]:
    """That of an image which has what the jobs need: its pip, which the executor calls, has nothing to install."""
    programs.mkdir()
    (programs / "pip").write_text("#!/bin/sh\nexit 0\n")
    (programs / "pip").chmod(0o755)
    return os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
