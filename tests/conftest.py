"""What tests share: quiet TensorFlow, small prepared data, tiny configs."""

import os
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import apache_beam as beam
import pytest
import tensorflow as tf

from data_prep import decoding, pipeline
from data_prep.sources import ucf101
from tf_dvdgan import config
from tools import make_demo_videos

# Those that take minutes: first, so that both processes end at about the same time.
LONG_FILES = (
    "test_run.py",
    "test_replicas.py",
    "test_docs.py",
    "test_report.py",
    "test_trainer.py",
    "test_tpu_preflight.py",
    "test_generators.py",
    "test_object_stores.py",
    "test_export.py",
    "test_predict.py",
    "test_prepare.py",
    "test_explore.py",
    "test_features.py",
)

TINY = os.path.join(os.path.dirname(__file__), "tiny.gin")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first."""

    def place(item: pytest.Item) -> int:
        name = item.path.name
        return LONG_FILES.index(name) if name in LONG_FILES else len(LONG_FILES)

    items.sort(key=place)


@pytest.fixture(autouse=True)
def _fresh_state():
    tf.keras.mixed_precision.set_global_policy("float32")
    tf.keras.utils.set_random_seed(0)  # Keras draws first weights from Python's seed
    yield
    tf.keras.mixed_precision.set_global_policy("float32")


@pytest.fixture(scope="session")
def demo_videos(tmp_path_factory) -> str:
    """144 encoded clips of 9 classes in UCF-101's layout."""
    folder = str(tmp_path_factory.mktemp("videos"))
    make_demo_videos.write(folder, "shapes", 144, (24, 32), seed=0)
    return folder


@pytest.fixture(scope="session")
def demo_shards(demo_videos, tmp_path_factory) -> str:
    """The same as shards of 16 pixels: 108 training clips in 4, 36 test clips."""
    folder = str(tmp_path_factory.mktemp("shards"))
    prepare_in_process(ucf101.list_clips(demo_videos), demo_videos, folder)
    return folder


def prepare_in_process(
    listing,
    input_dir: str,
    output_dir: str,
    num_shards: int = 4,
    decode_seconds: float = 60.0,
    **recipe,
) -> pipeline.Outcome:
    """Runs the pipeline in this process, and writes the manifest."""
    recipe = decoding.Recipe(**{"resolution": 16, **recipe})
    settings = pipeline.Settings(input_dir, output_dir, recipe, decode_seconds)
    tasks = pipeline.plan(listing, num_shards, seed=0)
    unfinished = pipeline.begin(tasks, settings)
    with beam.Pipeline(runner="FnApiRunner") as beam_pipeline:
        pipeline.run(beam_pipeline, unfinished, settings)
    return pipeline.finish(listing, tasks, settings, max_bad_fraction=0.5, made_with={})


@pytest.fixture(scope="session")
def flow_weights(tmp_path_factory) -> str:
    """A file of PWC-Net weights, as made by chance."""
    from tf_dvdgan.flow import pwc_net

    network = pwc_net.PWCNet()
    network.build_all()
    path = str(tmp_path_factory.mktemp("flow") / "pwc_net.h5")
    network.save_weights(path)
    return path


def run_module(module: str, *flags: str) -> subprocess.CompletedProcess:
    """Runs a command as a user does, to its end."""
    command = [sys.executable, "-m", module, *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def tiny_config():
    """The demo's config at 16 pixels and the least width."""
    config.load([TINY])
