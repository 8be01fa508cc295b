"""Examines an installation: what works on this machine, and what does not.

    for finding in doctor.examine():
        print(finding)

`tools.doctor` prints the findings as a table.
"""

import contextlib
import dataclasses
import functools
import importlib.metadata
import importlib.util
import math
import os
import platform
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from packaging import requirements, specifiers

from tf_dvdgan import errors, machine, onednn
from tf_dvdgan.data import files, filesystem

WORKS, NOTE, FAILS = "works", "note", "fails"

_PYTHONS = ((3, 11), (3, 13))  # first and last
_PACKAGES = ("tensorflow", "keras", "tf-keras", "numpy", "av", "apache-beam")
_MEMORY_NEEDED = 4.0  # GiB: for the demo, whose training takes 2
_DISK_NEEDED = 1.0  # GiB
_CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg")
# A step of these takes seconds; every operation of a large DVD-GAN is in it.
_CONFIG = ["demo.gin"]
_SMALL = [
    "RESOLUTION = 16",
    "NUM_FRAMES = 4",
    "CH = 2",
    "dvd_gan.SpatialDiscriminator.num_frames = 2",
]


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found about a part of the installation.

    Attributes:
      part: what was examined.
      state: 'works', 'note' (works, but not as well as it could, or is not needed by
        everyone) or 'fails'.
      text: what was found, and what to do about it.
    """

    part: str
    state: str
    text: str

    def __str__(self) -> str:
        return f"{self.part}: {self.state}. {self.text}"


def examine(paths: Sequence[str] = (), tpu: str | None = None) -> Iterator[Finding]:
    """Examines this machine, and trains two steps on each of its devices.

    Args:
      paths: folders or object stores, such as `s3://bucket/runs`, to write to and read
        from; a small file is written there, and removed.
      tpu: 'local' on a TPU VM, a TPU's name, or its grpc:// address; None for no TPU.

    Yields:
      The findings, as soon as they are known.
    """
    for part, check in {
        "Python": _python,
        "packages": _packages,
        "processor": _processor,
        "oneDNN": _onednn,
        "memory": _memory,
        "video decoders": _decoders,
    }.items():
        yield _guarded(part, check)
    for part, find in {
        "working folder": os.getcwd,
        "temporary folder": tempfile.gettempdir,
    }.items():
        yield _guarded(part, functools.partial(_disk, part, find))
    yield _guarded("object stores", _object_stores)
    for path in paths:
        yield _finding(path, functools.partial(_write_and_read, path))
    yield _guarded("browser for tests", _browser)
    # The TPU first: TensorFlow connects to it before it uses other devices.
    makers: dict[str, Callable[[], tf.distribute.Strategy]] = {}
    if tpu:
        makers[f"TPU {tpu}"] = functools.partial(_connect, tpu)
    gpus = tf.config.list_physical_devices("GPU")
    for number, gpu in enumerate(gpus):
        name = f"GPU:{number}"
        yield _guarded(name, functools.partial(_gpu, name, gpu))
        makers[name] = functools.partial(tf.distribute.OneDeviceStrategy, name)
    if len(gpus) > 1:
        makers[f"{len(gpus)} GPUs"] = tf.distribute.MirroredStrategy
    makers["CPU:0"] = lambda: tf.distribute.OneDeviceStrategy("CPU:0")
    for name, make in makers.items():
        part = f"training steps on {name}"
        yield _finding(part, functools.partial(_train, make))


def _finding(part: str, run: Callable[[], str]) -> Finding:
    """Runs a check that returns what works; any error of it is a finding."""
    return _guarded(part, lambda: Finding(part, WORKS, run()))


def _guarded(part: str, check: Callable[[], Finding]) -> Finding:
    """Runs a check; any error of it is a finding."""
    try:
        return check()
    except Exception as error:  # a device or a store may fail in any way
        lines = str(error).splitlines() or [""]
        kind = (
            "" if isinstance(error, errors.UserError) else f"{type(error).__name__}: "
        )
        return Finding(part, FAILS, f"{kind}{lines[0]}")


def _python() -> Finding:
    first, last = _PYTHONS
    number = platform.python_version()
    here = tuple(map(int, number.split(".")[:2]))
    if first <= here <= last:
        return Finding("Python", WORKS, number)
    span = " to ".join(".".join(map(str, version)) for version in _PYTHONS)
    return Finding("Python", FAILS, f"{number}; it must be {span}.")


def _packages() -> Finding:
    """Compares the versions that are installed with those that setup.py asks for."""
    found, wrong, needed = {}, [], _requirements()
    for name in dict.fromkeys([*_PACKAGES, *needed]):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
        specifier = needed.get(name, "")
        number = specifier.removeprefix("==")
        if name not in found and name in needed:
            wrong.append(f"{name} is not installed, {number} is needed")
        elif name in found and found[name] not in specifiers.SpecifierSet(specifier):
            wrong.append(f"{name} {found[name]} is installed, {number} is needed")
    text = ", ".join(f"{name} {found[name]}" for name in _PACKAGES if name in found)
    if wrong:
        return Finding("packages", FAILS, "; ".join(wrong) + ".")
    return Finding("packages", WORKS, text)


def _requirements() -> dict[str, str]:
    """The versions that the package requires for this Python, by name."""
    try:
        texts = importlib.metadata.requires("tf_dvdgan") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    every = map(requirements.Requirement, texts)
    return {
        one.name: str(one.specifier)
        for one in every
        if one.marker is None or one.marker.evaluate({"extra": ""})
    }


def _processor() -> Finding:
    text = machine.describe()
    if machine.instruction_sets() == "no AVX2":
        return Finding("processor", NOTE, f"{text}; training will be very slow.")
    return Finding("processor", WORKS, text)


def _onednn() -> Finding:
    text = onednn.describe()
    if text == "on" or not onednn.is_x86():
        return Finding("oneDNN", WORKS, text)
    return Finding(
        "oneDNN",
        NOTE,
        f"{text}; 3-D convolutions on the CPU are up to a hundred times slower. Unset "
        f"{onednn.VARIABLE}, and import tf_dvdgan before TensorFlow.",
    )


def _memory() -> Finding:
    """Memory of the machine, or of the container that limits it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        with open("/sys/fs/cgroup/memory.max") as file:
            total = min(total, int(file.read()))
    text = f"{total / 2**30:.1f} GiB"
    if total / 2**30 < _MEMORY_NEEDED:
        return Finding(
            "memory", NOTE, f"{text}; training needs {_MEMORY_NEEDED:g} GiB or more."
        )
    return Finding("memory", WORKS, text)


def _decoders() -> Finding:
    import av

    missing = [name for name in _CODECS if name not in av.codecs_available]
    library = f"PyAV {av.__version__}, FFmpeg's libavcodec " + ".".join(
        map(str, av.library_versions["libavcodec"])
    )
    if missing:
        text = f"{library}; it cannot decode {', '.join(missing)}."
        return Finding("video decoders", NOTE, text)
    return Finding("video decoders", WORKS, f"{library}: {', '.join(_CODECS)}, ...")


def _disk(part: str, find: Callable[[], str]) -> Finding:
    folder = find()  # fails where no folder can be written to
    free = shutil.disk_usage(folder).free / 2**30
    text = f"{free:.1f} GiB free at {folder}"
    if free < _DISK_NEEDED:
        return Finding(part, FAILS, f"{text}; at least {_DISK_NEEDED:g} are needed.")
    return Finding(part, WORKS, text)


def _object_stores() -> Finding:
    """Which kinds of paths can be used; `paths` says which stores can be reached."""
    libraries = {
        "tensorflow_io": "s3://, az://, hdfs:// (TensorFlow I/O)",
        "s3fs": "s3:// (s3fs)",
        "adlfs": "az:// (adlfs)",
    }
    found = ["gs:// (TensorFlow)"]
    found += [
        text for name, text in libraries.items() if importlib.util.find_spec(name)
    ]
    return Finding("object stores", WORKS, "; ".join(found))


def _write_and_read(path: str) -> str:
    """Writes a file to a folder, reads it, lists it and removes it."""
    files.register_filesystems(path)
    files.check_writable(path, as_folder=True)
    is_new = not files.is_remote(path) and not filesystem.exists(path)
    name = f"tf_dvdgan-doctor-{uuid.uuid4().hex}"
    place, data = os.path.join(path, name), os.urandom(1 << 20)
    began = time.perf_counter()
    try:
        files.atomic_write(place, data)
        with filesystem.GFile(place, "rb") as file:
            if file.read() != data:
                raise OSError("what was read is not what was written")
        if name not in files.list_dir(path):
            raise OSError("a file that was written is not listed")
    finally:
        if filesystem.exists(place):
            filesystem.remove(place)
        if is_new and filesystem.exists(path):
            os.rmdir(path)
    return f"1 MiB written and read in {time.perf_counter() - began:.2f} s"


def _browser() -> Finding:
    """The project's tests of pages need a browser; nothing else does."""
    found = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if all(found):
        return Finding("browser for tests", WORKS, str(found[0]))
    return Finding(
        "browser for tests",
        NOTE,
        "there is no chromium with chromedriver; `make test` skips the tests of pages.",
    )


def _gpu(name: str, gpu: tf.config.PhysicalDevice) -> Finding:
    details = tf.config.experimental.get_device_details(gpu)
    capability = ".".join(map(str, details.get("compute_capability", ("unknown",))))
    text = f"{details.get('device_name', 'unknown')}, compute capability {capability}"
    return Finding(name, WORKS, text)


def _connect(tpu: str) -> tf.distribute.Strategy:
    from tf_dvdgan.training import strategy as strategy_lib

    return strategy_lib.create("tpu", tpu)


def _train(make_strategy: Callable[[], tf.distribute.Strategy]) -> str:
    """Trains a small DVD-GAN for two steps; checks its losses and weights."""
    # Here, because they need packages that may be missing: the other checks go on.
    from tf_dvdgan import config
    from tf_dvdgan.models import video_gan
    from tf_dvdgan.training import trainer as trainer_lib

    strategy = make_strategy()
    with config.isolated():
        batch = f"BATCH_SIZE = {2 * strategy.num_replicas_in_sync}"
        config.load(_CONFIG, [*_SMALL, batch])
        trainer = trainer_lib.from_config(
            strategy, [f"class {i}" for i in range(4)], video_gan.from_config
        )
    before = [variable.numpy() for variable in trainer.generator_variables]
    batches = iter(
        strategy.distribute_datasets_from_function(lambda _: trainer.random_batches())
    )
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        metrics = trainer.run_steps(batches, 1)
        seconds.append(time.perf_counter() - began)
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        raise errors.UserError(f"{', '.join(bad)} is not finite.")
    after = [variable.numpy() for variable in trainer.generator_variables]
    if all(np.array_equal(a, b) for a, b in zip(before, after, strict=True)):
        raise errors.UserError("The generator's weights did not change.")
    return (
        f"{seconds[1]:.2f} s, after {seconds[0]:.0f} s of compilation; "
        f"replicas: {trainer.num_replicas}"
    )
