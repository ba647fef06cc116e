"""The files that start several processes: read by parsers, and their command lines by the programs'."""

import importlib
import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from train import command, learning, parsing

DEPLOY = Path(__file__).resolve().parents[2] / "train" / "deploy"
FILES = ("slurm.sh", "Dockerfile", "compose.yaml", "kubernetes.yaml")
# What stands in for a cluster of four nodes: srun runs its command once for each, here.
CLUSTER = {
    "scontrol": 'test "$*" = "show hostnames node[1-4]" && printf "node%s\\n" 1 2 3 4',
    "srun": 'shift; for id in 0 1 2 3; do SLURM_PROCID=$id "$@"; done',
    "abp-tf": 'printf "%s\\n" "$TF_CONFIG" "abp-tf $*"',
}


def accepted(words, configs):
    """Check a command line, and the variables TF_CONFIG of the processes that run it."""
    program, rest = command.find(words[1:])
    recipe = importlib.import_module(program.module).RECIPE
    given = parsing.parse(recipe.name, recipe.description, recipe.table, rest)
    assert "--resume auto" in " ".join(rest).replace("=", " ")
    assert given.pop("run").startswith(("/shared/", "/runs/"))
    settings = learning.divided(recipe.settle(given), given, len(configs))
    assert settings["shards"] % len(configs) == 0
    [workers] = {tuple(config["cluster"]["worker"]) for config in configs}
    assert len(set(workers)) == len(workers) == len(configs)
    tasks = [config["task"] for config in configs]
    assert tasks == [{"type": "worker", "index": number} for number in range(len(configs))]
    return workers


def test_slurm(tmp_path):
    script = DEPLOY / "slurm.sh"
    subprocess.run(["bash", "-n", script], check=True)
    for name, body in CLUSTER.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "node[1-4]"}
    said = subprocess.run(["bash", script], env=environment, check=True, capture_output=True, text=True)
    lines = said.stdout.splitlines()
    [line] = set(lines[1::2])
    workers = accepted(shlex.split(line), [json.loads(config) for config in lines[::2]])
    assert workers == ("node1:2222", "node2:2222", "node3:2222", "node4:2222")
    text = script.read_text()
    assert "#SBATCH --nodes=4\n#SBATCH --ntasks-per-node=1\n" in text


def test_compose():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    one, two = services.values()
    assert one["command"] == two["command"]
    configs = [json.loads(service["environment"]["TF_CONFIG"]) for service in (one, two)]
    workers = accepted(shlex.split(one["command"]), configs)
    assert [worker.partition(":")[0] for worker in workers] == list(services)
    assert one["cpus"] == int(one["environment"]["OMP_NUM_THREADS"])
    build = one["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    targets = {volume.rsplit("}:", 1)[1].partition(":")[0] for volume in one["volumes"]}
    assert targets == {"/data", "/runs"}


def test_kubernetes():
    service, job = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    assert service["spec"]["clusterIP"] == "None"  # a name for each pod
    pod, spec = job["spec"]["template"], job["spec"]
    assert service["spec"]["selector"] == pod["metadata"]["labels"]
    assert pod["spec"]["subdomain"] == service["metadata"]["name"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == 2
    [container] = pod["spec"]["containers"]
    index, config = container["env"][-2:]
    field = index["valueFrom"]["fieldRef"]["fieldPath"]
    assert (index["name"], config["name"]) == ("INDEX", "TF_CONFIG")  # which uses it
    assert field == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    values = [config["value"].replace("$(INDEX)", str(number)) for number in range(spec["completions"])]
    workers = accepted(container["args"], [json.loads(value) for value in values])
    port = container["ports"][0]["containerPort"]
    job_name, name = job["metadata"]["name"], service["metadata"]["name"]
    assert workers == tuple(f"{job_name}-{number}.{name}:{port}" for number in range(2))
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["spec"]["volumes"]
    }


def test_the_image_has_what_the_package_is_made_of():
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    checkout = DEPLOY.parents[1]
    assert all((checkout / name).exists() for name in copied)
    assert {"setup.py", "pyproject.toml", "README.md", "abp_tf", "train", "export"} <= set(copied)


@pytest.mark.parametrize("name", FILES)
def test_the_page_names_every_file(name):
    assert {path.name for path in DEPLOY.iterdir()} == {*FILES, "README.md"}
    assert f"`{name}`" in (DEPLOY / "README.md").read_text()
