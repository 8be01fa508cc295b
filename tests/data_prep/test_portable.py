"""The portable path of Dataflow, Flink and Spark: workers in processes of their own.

A worker pool, as those run on each machine, starts the workers; the pipeline's stages
go to them pickled, over gRPC.
"""

import contextlib
import filecmp
import os
import re
import socket
import subprocess
import sys
import time

import apache_beam as beam
import pytest
from apache_beam.options import pipeline_options
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms import environments
from conftest import prepare_in_process

from data_prep.sources import ucf101
from tests.conformance import test_replicas


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """The address of a worker pool, and the file that it logs to."""
    (port,) = test_replicas.free_ports(1)
    log = str(tmp_path_factory.mktemp("pool") / "log")
    # It starts its workers as plain `python`: that must be this one.
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    module = "apache_beam.runners.worker.worker_pool_main"
    with open(log, "w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", module, f"--service_port={port}"],
            env=os.environ | {"PATH": path},
            stdout=file,
            stderr=file,
        )
    for _ in range(600):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            break
        time.sleep(0.2)
    else:
        pytest.fail(open(log).read())
    yield f"127.0.0.1:{port}", log
    process.terminate()
    process.wait()


def assert_same_shards(folder, other) -> None:
    names = sorted(name for name in os.listdir(folder) if name.endswith(".tfrecord"))
    assert len(names) == 8
    assert filecmp.cmpfiles(folder, other, names, shallow=False)[0] == names


@pytest.mark.slow
def test_the_command_on_a_portable_runner(demo_videos, demo_shards, pool, tmp_path):
    address, log = pool
    done = subprocess.run(
        [
            *(sys.executable, "-m", "data_prep.prepare", "--dataset=ucf101"),
            *(f"--input={demo_videos}", f"--output={tmp_path}", "--resolution=16"),
            *("--num_shards=4", "--runner=PortableRunner", "--job_endpoint=embed"),
            *("--environment_type=EXTERNAL", f"--environment_config={address}"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Starting worker" in open(log).read()
    assert_same_shards(demo_shards, tmp_path)


@pytest.mark.slow
def test_two_workers_of_a_pool_share_the_work(
    demo_videos, demo_shards, pool, tmp_path, monkeypatch
):
    address, log = pool
    before = len(open(log).read())
    pipeline_of = beam.Pipeline

    def on_the_pool(runner):
        del runner
        environment = environments.ExternalEnvironment(address)
        options = pipeline_options.PipelineOptions(["--direct_num_workers=2"])
        return pipeline_of(FnApiRunner(environment), options)

    monkeypatch.setattr(beam, "Pipeline", on_the_pool)
    listing = ucf101.list_clips(demo_videos)
    prepare_in_process(listing, demo_videos, str(tmp_path))
    started = re.findall(r'worker_id="(\w+)"', open(log).read()[before:])
    assert len(set(started)) == 2
    assert_same_shards(demo_shards, tmp_path)
