"""What tests share: quiet TensorFlow, small prepared data, tiny configs."""

import atexit
import contextlib
import fcntl
import functools
import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# PyTorch's and OpenBLAS's threads wait for one another in a loop: on cores that
# other processes use too, a step of 0.2 s takes 15.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import tf_dvdgan  # noqa: F401, before TensorFlow: it turns on oneDNN

# isort: split
import command_server
import pytest

# What takes long to import is imported in functions: pytest-xdist's own process, before
# which no other starts, loads this file too.

# Those that take longest, 150 to 15 seconds of CPU: first, so that both processes end
# at about the same time.
LONG_FILES = (
    "test_video_gan.py",
    "test_run.py",
    "test_prepare.py",
    "test_train.py",
    "test_export.py",
    "test_notebooks.py",
    "test_predict.py",
    "test_config.py",
    "test_generators.py",
    "test_object_stores.py",
    "test_replicas.py",
    "test_tpu_preflight.py",
    "test_report.py",
    "test_dvd_gan.py",
    "test_s3.py",
    "test_explore.py",
    "test_sources.py",
    "test_i3d.py",
    "test_variables.py",
    "test_comparison.py",
    "test_small_data.py",
    "test_trainer.py",
    "test_updates.py",
    "test_layers.py",
    "test_decoding.py",
    "test_video_reader.py",
    "test_readers.py",
    "test_lanes.py",
    "test_train_classifier.py",
    "test_packaging.py",
    "test_docs_build.py",
    "test_evaluator.py",
    "test_order.py",
    "test_serving.py",
    "test_demo.py",
    "test_terminal.py",
    "test_bad_data.py",
    "test_docs.py",
)

TINY, TINY_VGAN = (
    os.path.join(os.path.dirname(__file__), name)
    for name in ("tiny.gin", "tiny_vgan.gin")
)
# The paper's number; tiny.gin has one, which is traced in two thirds of the time.
TWO_UPDATES = "--gin_param=trainer.build.num_d_steps = 2"
# Beam's runner without processes: quick, as there is nothing to start.
IN_PROCESS = ("--runner=FnApiRunner",)
FEW = (
    "--gin_param=evaluation.Plan.num_videos = 20",
    "--gin_param=evaluation.Plan.num_videos_at_end = 24",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first."""

    def place(item: pytest.Item) -> int:
        name = item.path.name
        return LONG_FILES.index(name) if name in LONG_FILES else len(LONG_FILES)

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """The garbage collector need not look at all that was imported, nor so often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


@pytest.fixture(autouse=True)
def _fresh_state():
    import tensorflow as tf

    tf.keras.mixed_precision.set_global_policy("float32")
    tf.keras.utils.set_random_seed(0)  # Keras draws first weights from Python's seed
    yield
    tf.keras.mixed_precision.set_global_policy("float32")


@pytest.fixture
def eagerly():
    """Runs a few steps without tracing them, which takes ten times as long."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def quick_graphs():
    """Runs a file's graphs without Grappler, as commands do (command_server.py)."""
    import tensorflow as tf

    off = command_server.GRAPPLER_OFF
    tf.config.optimizer.set_experimental_options(off)
    yield
    tf.config.optimizer.set_experimental_options(dict.fromkeys(off, False))


@pytest.fixture(scope="session")
def demo_videos(tmp_path_factory) -> str:
    """144 encoded clips of 9 classes in UCF-101's layout."""
    from tf_dvdgan import demo_videos

    folder = str(tmp_path_factory.mktemp("videos"))
    demo_videos.write_dataset(folder, "shapes", 144, (24, 32), seed=0)
    return folder


@pytest.fixture(scope="session")
def demo_shards(demo_videos, tmp_path_factory) -> str:
    """The same as shards of 16 pixels: 108 training clips in 4, 36 test clips."""
    from data_prep.sources import ucf101

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
):
    """Runs the pipeline in this process, writes the manifest, gives its outcome."""
    import apache_beam as beam

    from data_prep import decoding, pipeline, receipts
    from data_prep import tasks as tasks_lib

    recipe = decoding.Recipe(**{"resolution": 16, **recipe})
    settings = tasks_lib.Settings(input_dir, output_dir, recipe, decode_seconds)
    tasks = tasks_lib.plan(listing, num_shards, seed=0)
    unfinished = receipts.start_job(tasks, settings)
    with beam.Pipeline(runner="FnApiRunner") as beam_pipeline:
        pipeline.run(beam_pipeline, unfinished, settings)
    return receipts.finish_job(
        listing, tasks, settings, max_bad_fraction=0.5, made_with={}
    )


@pytest.fixture(scope="session")
def flow_weights(tmp_path_factory) -> str:
    """A file of PWC-Net weights, as made by chance."""
    from tf_dvdgan.flow import pwc_net

    network = pwc_net.PWCNet()
    network.build_all()
    path = str(tmp_path_factory.mktemp("flow") / "pwc_net.h5")
    network.save_weights(path)
    return path


@pytest.fixture(scope="session")
def tiny_run(demo_shards, tmp_path_factory) -> str:
    """The folder of a run of six steps, evaluated before, at the third and the last.

    It is one for all of pytest's processes: who changes it takes a copy. What the
    command printed is beside it, in "tiny_run.out".
    """

    def make(folder: str) -> None:
        flags = (f"--gin_file={TINY}", f"--data_dir={demo_shards}", *FEW)
        flags += (f"--model_dir={folder}", "--mode=train_and_eval", TWO_UPDATES)
        done = run_module("tf_dvdgan.run", *flags)
        assert done.returncode == 0, done.stderr
        with open(f"{folder}.out", "w") as file:
            file.write(done.stdout)

    return _made_once("tiny_run", make, tmp_path_factory)


def _made_once(name: str, make: Callable[[str], None], tmp_path_factory) -> str:
    """A folder that the first of pytest's processes makes, and the others wait for."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, done = root / name, root / f"{name}.done"
    with open(root / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(str(folder))
            done.touch()
    return str(folder)


def gradients_by_precision(make: Callable, run: Callable) -> list[tuple]:
    """Of two models with the same weights: names, bfloat16's gradients, float32's.

    They are of the sum of `run(model)`.
    """
    import tensorflow as tf

    def gradients(model) -> list:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(run(model))
        none = tf.UnconnectedGradients.ZERO
        found = tape.gradient(total, model.trainable_variables, None, none)
        return [gradient.numpy() for gradient in found]

    model = make()
    run(model)
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    rounded = make()
    run(rounded)
    tf.keras.mixed_precision.set_global_policy("float32")
    rounded.set_weights(model.get_weights())
    names = [variable.name for variable in model.trainable_variables]
    return list(zip(names, gradients(rounded), gradients(model), strict=True))


@contextlib.contextmanager
def graph_of_shapes():
    """A graph for what never runs: nothing is allocated, variables begin as zeros.

    With `tf.autograph.experimental.do_not_convert` a model takes half the time.
    """
    import tensorflow as tf

    def with_zeros(next_creator, **settings):
        zeros = functools.partial(tf.zeros, settings["shape"], settings["dtype"])
        return next_creator(**{**settings, "initial_value": zeros})

    with tf.Graph().as_default() as graph, tf.variable_creator_scope(with_zeros):
        yield graph


@functools.cache
def _commands() -> command_server.Server:
    server = command_server.Server()
    atexit.register(server.close)
    return server


def run_python(*arguments: str, **settings) -> subprocess.CompletedProcess:
    """Runs Python ("-m" or "-c", ...) to its end, as `command_server.Server.run` does.

    That is quick, as TensorFlow is imported already. `run_process` starts from scratch.
    """
    return _commands().run(arguments, **settings)


def run_module(module: str, *flags: str, **settings) -> subprocess.CompletedProcess:
    """Runs a command as a user does, to its end; quick as `run_python` is."""
    return run_python("-m", module, *flags, **settings)


def run_process(*arguments: str, **settings) -> subprocess.CompletedProcess:
    """Runs Python to its end in a process that starts from scratch."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, **settings
    )


def after(statement: str, *arguments: str) -> tuple[str, ...]:
    """Arguments of Python that execute a statement, then Python with the given ones.

    For what a process passes on: limits, and which signals it ignores. `preexec_fn`
    would do so between fork and exec, where gRPC, which other tests load, writes
    to the standard error that tests read.
    """
    script = "import os, resource, signal, sys; {}; os.execv(sys.executable, {})"
    command = "[sys.executable, *sys.argv[1:]]"
    return "-c", script.format(statement, command), *arguments


def limit_of_file_size(size: int) -> str:
    """A statement for `after`: files may have this many bytes, like a full disk."""
    return f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"


# A statement for `after`: signals as in a terminal, wherever the tests run.
DEFAULT_SIGNALS = (
    "[signal.signal(s, signal.SIG_DFL) for s in (signal.SIGINT, signal.SIGHUP)]"
)


@pytest.fixture
def tiny_config():
    """The demo's config at 16 pixels and the least width."""
    from tf_dvdgan import config

    config.load([TINY])
