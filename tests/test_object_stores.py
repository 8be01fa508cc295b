"""The main job with everything on an S3 server, which runs on this machine."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import boto3
import pytest
from conftest import TINY, TINY_VGAN, run_module

from tf_dvdgan.data import filesystem

# TensorFlow I/O, by which TensorFlow itself reads s3://.
first_lane = pytest.mark.skipif(not filesystem.has_tensorflow_io(), reason="no TF-IO")
SECRET = "secret-of-this-test"
KEY = "key-of-this-test"
BUCKET = "bucket"
# In a process of its own: TensorFlow waits for it while holding Python's lock.
SERVER = """
import logging
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
input()
"""


class Store:
    """A bucket, and commands that may use it."""

    def __init__(self, port: int):
        self.endpoint = f"http://127.0.0.1:{port}"
        self._s3 = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )
        self._s3.create_bucket(Bucket=BUCKET)
        self.said = ""

        self._environment = os.environ | {
            "S3_ENDPOINT": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def start(self, module: str, *flags: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", module, *flags],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def try_to_run(self, module: str, *flags: str) -> subprocess.CompletedProcess:
        return run_module(module, *flags, env=self._environment, timeout=200)

    def run(self, module: str, *flags: str) -> tuple[str, str]:
        """Runs a command that must end well; gives what it said."""
        done = self.try_to_run(module, *flags)
        assert done.returncode == 0, (module, done.returncode, done.stderr)
        self.said += done.stdout + done.stderr
        return done.stdout, done.stderr

    def put(self, key: str, data: bytes) -> None:
        self._s3.put_object(Bucket=BUCKET, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        return self._s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def sizes(self, prefix: str = "") -> dict[str, int]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=prefix
        )
        return {o["Key"]: o["Size"] for p in pages for o in p.get("Contents", [])}


@pytest.fixture(scope="module")
def store():
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    port = next(int(line) for line in server.stdout if line.strip().isdigit())
    yield Store(port)
    server.kill()
    server.wait()


@pytest.fixture(scope="module")
def shards(store, demo_videos) -> str:
    """A folder of three classes and a bad file, prepared from store to store."""
    for name in sorted(os.listdir(demo_videos))[:3]:
        folder = os.path.join(demo_videos, name)
        for file in sorted(os.listdir(folder))[:6]:
            with open(os.path.join(folder, file), "rb") as video:
                store.put(f"videos/{name}/{file}", video.read())
    store.put(f"videos/{name}/text.mp4", b"no video\n")
    prepare(store)
    return f"s3://{BUCKET}/shards"


def prepare(store) -> None:
    _, err = store.run(
        "data_prep.prepare",
        f"--input=s3://{BUCKET}/videos",
        f"--output=s3://{BUCKET}/shards",
        "--resolution=16",
        "--num_shards=2",
        "--max_bad_fraction=0.2",
    )
    assert "Traceback" not in err and "terminate" not in err, err


def test_a_shard_that_was_cut_short_is_written_again(store, shards):
    before = store.sizes("shards/")
    names = sorted(key for key in before if key.endswith(".tfrecord"))
    assert len(names) == 2 and "shards/manifest.json" in before
    assert b"text.mp4" in store.get("shards/rejected.jsonl")
    contents = store.get(names[0])
    store.put(names[0], contents[:1000])
    prepare(store)
    assert store.get(names[0]) == contents and store.sizes("shards/") == before


def newest_checkpoint(store) -> int:
    """Step of the newest whole checkpoint; 0 if there is none."""
    if "run/checkpoints/checkpoint" not in store.sizes("run/checkpoints/"):
        return 0
    first_line = store.get("run/checkpoints/checkpoint").decode().splitlines()[0]
    return int(first_line.rstrip('"').rsplit("-")[-1])


@first_lane
def test_a_killed_run_resumes_samples_and_exports(store, shards, tmp_path):
    run_dir = f"s3://{BUCKET}/run"
    flags = (f"--gin_file={TINY_VGAN}", f"--data_dir={shards}")
    flags += (f"--model_dir={run_dir}",)
    killed = store.start("tf_dvdgan.run", *flags, "--gin_param=NUM_STEPS=100000")
    deadline = time.monotonic() + 200
    while not newest_checkpoint(store):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    killed.kill()
    store.said += "".join(killed.communicate())
    assert killed.returncode == -signal.SIGKILL
    step, before = newest_checkpoint(store), -1
    while step != before:  # what was sent may still be on its way
        time.sleep(1.0)
        step, before = newest_checkpoint(store), step
    end = step + 3

    out, _ = store.run("tf_dvdgan.run", *flags, f"--gin_param=NUM_STEPS={end}")
    assert f"Resuming from step {step}" in out and f"Trained {end} steps" in out
    run = store.sizes("run/")
    assert f"run/samples/samples_ema-{end:07}.gif" in run
    assert any("events.out.tfevents" in key for key in run)

    samples = f"s3://{BUCKET}/samples"
    store.run(
        "tools.sample",
        f"--model_dir={run_dir}",
        f"--output={samples}",
        "--num_videos=2",
    )
    assert len(store.sizes("samples/")) == 3
    assert store.get("samples/grid.gif").startswith(b"GIF89a")

    store.run("tools.export", f"--model_dir={run_dir}")
    exported = store.sizes(f"run/export/{end}/")
    assert exported[f"run/export/{end}/saved_model.pb"] > 0
    assert f"run/export/{end}/variables/variables.index" in exported

    for text in [store.said.encode(), *map(store.get, store.sizes())]:
        assert SECRET.encode() not in text and KEY.encode() not in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--input=s3://bucket/none", "--output=s3://bucket/x"], "is not a folder"),
        (["--input=s3://bucket/videos", "--output=s3://none/x"], "no bucket s3://none"),
    ],
)
def test_mistakes_are_reported(store, shards, flags, message):
    done = store.try_to_run("data_prep.prepare", *flags)
    assert done.returncode == 1
    assert message in done.stderr and done.stderr.strip().count("\n") == 0


@pytest.mark.slow
def test_a_run_is_copied_exported_and_sampled_to_the_store(store, tiny_run, tmp_path):
    remote, back = f"s3://{BUCKET}/copy", tmp_path / "back"
    out, _ = store.run(
        "tools.copy_run", f"--model_dir={tiny_run}", f"--output={remote}"
    )
    files = [path for path in pathlib.Path(tiny_run).rglob("*") if path.is_file()]
    assert out.startswith(f"{len(files)} files in {remote}") and len(files) > 20
    names = [str(path.relative_to(tiny_run)) for path in files]
    sizes = [path.stat().st_size for path in files]
    assert store.sizes("copy/") == {
        f"copy/{name}": size for name, size in zip(names, sizes, strict=True)
    }
    store.run("tools.copy_run", f"--model_dir={remote}", f"--output={back}")
    for name, path in zip(names, files, strict=True):
        assert (back / name).read_bytes() == path.read_bytes(), name

    output = f"--output={remote}/exported"
    store.run("tools.export", f"--model_dir={back}", output, "--truncations=0.5,1")
    exported = store.sizes("copy/exported/")
    assert exported["copy/exported/saved_model.pb"] > 0
    output = f"--output=s3://{BUCKET}/sampled"
    store.run("tools.sample", f"--model_dir={back}", "--num_videos=2", output)
    assert store.get("sampled/grid.gif").startswith(b"GIF89a")


@pytest.mark.skipif(filesystem.has_tensorflow_io(), reason="TF-IO serves them")
@pytest.mark.parametrize(
    ("module", "flags"),
    [
        ("tf_dvdgan.run", [f"--gin_file={TINY}", "--model_dir=RUN", "--data_dir=S"]),
        ("tools.sample", ["--model_dir=S", "--output=samples"]),
        ("tools.score", ["--real=S", "--generated=samples", "--protocol=fid_pixels"]),
    ],
)
def test_what_is_not_served_is_refused_before_any_work(store, module, flags, tmp_path):
    flags = [flag.replace("=S", f"=s3://{BUCKET}/shards") for flag in flags]
    done = store.try_to_run(module, *flags)
    assert done.returncode == 1 and not done.stdout
    assert "cannot be used here: without TensorFlow I/O" in done.stderr
    assert done.stderr.strip().count("\n") == 0
