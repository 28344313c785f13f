"""The Snakefile by Snakemake's executor for Kubernetes, against as much of its API as that asks for: what a job
asks for in its manifest, and that its commands, run as its pod would, work on the kit of the volume."""

import importlib.util
import json
import shutil
import subprocess

import pytest
from kubernetes_api import KubernetesApi, environment_of_pods
from tiny_project import environment, write_project

PLUGINS = ("snakemake_executor_plugin_kubernetes", "snakemake_storage_plugin_fs")
IMAGE = "registry.example/otoc:1"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, PLUGINS)), reason="no executor: pip install -e '.[cluster]'"
    ),
    pytest.mark.skipif(
        not shutil.which("rsync"), reason="no rsync, by which the storage of files copies; apt-get install rsync"
    ),
]


def test_a_job_carries_what_it_asks_for_and_its_commands_run_on_the_volume(rooms, tmp_path):
    kit = tmp_path / "kit"
    write_project(kit, rooms, {"unet_gp": {"variant": "unet_gp", "workers": 1, "propagation_memory": 2.0}})
    (kit / ".gitignore").write_text("runs\nreports\n.snakemake\ndata\n")
    for command in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *command], cwd=kit, check=True)
    with KubernetesApi(tmp_path / "api", environment_of_pods(tmp_path / "bin") | environment() | ONE_THREAD) as api:
        volume = ["--default-storage-provider", "fs", "--default-storage-prefix", str(kit)]
        volume += ["--kubernetes-persistent-volumes", f"otoc-kit:{kit}", "--container-image", IMAGE]
        options = ["--config", "profile=tiny", f"kit={kit}", "--nolock", "--seconds-between-status-checks", "1"]
        done = subprocess.run(
            ["snakemake", "--executor", "kubernetes", "--jobs", "1", *volume, *options],
            cwd=kit,
            env=environment() | {"KUBECONFIG": str(api.kubeconfig)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-5000:] + api.outputs()
    training, report = api.jobs.values()
    for job in (training, report):
        spec = job["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        assert container["image"] == IMAGE and job["spec"]["backoffLimit"] == 0
        assert {"name": "otoc-kit", "mountPath": str(kit)} in container["volumeMounts"]
        claims = [
            volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"] if "emptyDir" not in volume
        ]
        assert claims == ["otoc-kit"]
    asked = training["spec"]["template"]["spec"]["containers"][0]["resources"]
    # Kubernetes takes GPUs as limits alone, or as equal requests beside them.
    assert asked["limits"] == {"cpu": "2000m", "memory": "10548M", "nvidia.com/gpu": "1"}
    assert asked["requests"] == asked["limits"] | {"cpu": "1900m"}
    tolerated = [toleration["key"] for toleration in training["spec"]["template"]["spec"]["tolerations"]]
    assert tolerated == ["nvidia.com/gpu"]
    of_report = report["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    assert of_report["memory"] == "10548M" and "nvidia.com/gpu" not in of_report
    # All is on the volume, as if it had been run there.
    assert json.loads((kit / "runs/tiny/unet_gp/evaluate_2/metrics.json").read_text())["splits"]["val"]
    assert (kit / "runs/tiny/unet_gp/06_report.done").exists() and (kit / "reports/tiny/index.html").exists()
    executed = sorted((kit / "reports/tiny/notebooks").glob("*.ipynb"))
    assert [path.stem for path in executed] == ["04_ablate.unet_gp", "06_report.unet_gp"]
    assert all(cell["outputs"] for path in executed for cell in json.loads(path.read_text())["cells"][-1:])
    assert "rule 04_ablate" in api.outputs() and "unet_gp · evaluate 2: 100%" in api.outputs()
