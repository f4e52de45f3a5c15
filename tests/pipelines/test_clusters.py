"""The cluster configurations that the README points at are what dask-jobqueue and dask-kubernetes accept."""

import dask
import pytest
import yaml

from pipelines import clusters

FOLDER = next(iter(clusters.__path__))


def read(name):
    with open(f"{FOLDER}/{name}", encoding="utf-8") as file:
        return yaml.safe_load(file)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_slurm_configuration_becomes_a_job_script():
    jobqueue = pytest.importorskip("dask_jobqueue")
    with dask.config.set(dask.config.merge(dask.config.config, read("slurm.yaml"))):
        with open(f"{jobqueue.__path__[0]}/jobqueue.yaml", encoding="utf-8") as file:
            known = yaml.safe_load(file)["jobqueue"]["slurm"]
        assert set(read("slurm.yaml")["jobqueue"]["slurm"]) <= set(known), "a key that dask-jobqueue does not know"
        job = jobqueue.slurm.SLURMJob("tcp://10.0.0.1:8786", name="worker", config_name="slurm")
        script = job.job_script()
    assert "#SBATCH -p normal" in script
    assert "#SBATCH --cpus-per-task=16" in script
    assert ". /shared/longtake/.venv/bin/activate" in script
    assert "--nthreads 1" in script
    assert "--nworkers 16" in script


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_kubernetes_cluster_is_one_that_the_operator_builds():
    controller = pytest.importorskip("dask_kubernetes.operator.controller.controller")
    objects = pytest.importorskip("dask_kubernetes.operator._objects")
    spec = read("kubernetes.yaml")
    assert objects.DaskCluster(spec).name == "longtake"
    assert spec["apiVersion"] == objects.DaskCluster.version
    worker, scheduler = spec["spec"]["worker"], spec["spec"]["scheduler"]
    pod = controller.build_scheduler_deployment_spec("longtake", scheduler["spec"], {}, {})
    assert pod["spec"]["template"]["spec"]["containers"][0]["args"] == ["dask-scheduler"]
    pod = controller.build_worker_deployment_spec("workers", "default", "longtake", "0", worker["spec"], {}, {})
    container = pod["spec"]["template"]["spec"]["containers"][0]
    assert container["args"][-2:] == ["--nthreads", "1"]
    assert "DASK_SCHEDULER_ADDRESS" in {variable["name"] for variable in container["env"]}
    service = controller.build_scheduler_service_spec("longtake", scheduler["service"], {}, {})
    assert {port["port"] for port in service["spec"]["ports"]} == {8786, 8787}
