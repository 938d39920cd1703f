"""What the page on clusters says to type of Dask's own packages: these take it."""

from __future__ import annotations

import re

import paths
import pytest

pytestmark = pytest.mark.slow


def snippet(word: str) -> str:
    """The page's Python that begins with an import of a package."""
    page = (paths.ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    (code,) = re.findall(rf"```python\n(from {word}.*?)```", page, re.DOTALL)
    return str(code)


def test_jobs_of_slurm_are_workers_of_one_thread_with_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    jobqueue = pytest.importorskip("dask_jobqueue", reason="no dask-jobqueue")
    asked = []
    monkeypatch.setattr(jobqueue.SLURMCluster, "scale", lambda cluster, jobs: asked.append(jobs))  # no SLURM is here
    monkeypatch.setattr("builtins.input", lambda prompt: "")
    names: dict[str, object] = {}
    exec(snippet("dask_jobqueue"), names)
    cluster = names["cluster"]
    assert isinstance(cluster, jobqueue.SLURMCluster)
    assert asked == [32]
    script = cluster.job_script()
    cluster.close()
    for line in ("#SBATCH -p cpu", "#SBATCH --cpus-per-task=1", "#SBATCH --mem=8G", "#SBATCH -t 08:00:00"):
        assert line in script.splitlines()
    assert re.search(r"dask_worker tcp://\S+ .*--nthreads 1 --memory-limit 7.45GiB --nanny", script)


def test_pods_of_kubernetes_are_such_workers_too() -> None:
    operator = pytest.importorskip("dask_kubernetes.operator", reason="no dask-kubernetes")
    code = snippet("dask_kubernetes")
    (words,) = re.findall(r"KubeCluster\((.*?)\n\)", code, re.DOTALL)
    spec = eval(f"make({words})", {"make": operator.make_cluster_spec})["spec"]["worker"]
    (container,) = spec["spec"]["containers"]
    assert spec["replicas"] == 16
    assert container["args"][:6] == ["dask", "worker", "--nthreads", "1", "--memory-limit", "8GB"]
    assert container["resources"]["limits"] == {"memory": "8Gi"}
