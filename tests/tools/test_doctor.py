"""What the doctor finds on this machine, and on machines with faults."""

import collections
import importlib.metadata
import os
import shutil
import tempfile

import numpy as np
import pytest
import tensorflow as tf
from conftest import run_module, run_python

from tf_dvdgan import doctor
from tf_dvdgan.training import trainer


def one_device():
    return tf.distribute.OneDeviceStrategy("CPU:0")


@pytest.fixture
def quick(monkeypatch):
    """Without training."""
    monkeypatch.setattr(doctor, "_train", lambda make: type(make()).__name__)


def by_part(findings):
    return {finding.part: finding for finding in findings}


def test_this_machine_works(quick, tmp_path):
    found = by_part(doctor.examine([str(tmp_path), str(tmp_path / "new")]))
    assert not {part: f for part, f in found.items() if f.state == doctor.FAILS}
    assert found["training steps on CPU:0"].text == "OneDeviceStrategy"
    assert "tensorflow" in found["packages"].text
    assert "av1" in found["video decoders"].text
    assert found["oneDNN"].text == "on"
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_steps_are_trained(eagerly):
    finding = doctor._finding("CPU", lambda: doctor._train(one_device))
    assert finding.state == doctor.WORKS, finding
    assert "replicas: 1" in finding.text


def test_a_device_that_computes_nonsense_fails(eagerly, monkeypatch):
    monkeypatch.setattr(
        trainer.Trainer, "run_steps", lambda *_: {"loss/generator": float("nan")}
    )
    finding = doctor._finding("CPU", lambda: doctor._train(one_device))
    assert finding.state == doctor.FAILS
    assert finding.text == "loss/generator is not finite."
    monkeypatch.setattr(
        trainer.Trainer, "run_steps", lambda *_: {"loss/generator": 0.5}
    )
    finding = doctor._finding("CPU", lambda: doctor._train(one_device))
    assert finding.text == "The generator's weights did not change."


def test_packages_of_other_versions_fail(monkeypatch):
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata,
        "version",
        lambda name: "1.0" if name == "tensorflow" else version(name),
    )
    finding = doctor._packages()
    assert finding.state == doctor.FAILS
    assert "tensorflow 1.0 is installed, 2." in finding.text
    assert np.__version__ not in finding.text


def test_packages_that_are_missing_fail(monkeypatch, quick):
    version = importlib.metadata.version

    def without(name):
        if name in ("av", "gin-config"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    found = by_part(doctor.examine())
    assert found["packages"].state == doctor.FAILS
    for name in ("av", "gin-config"):
        assert f"{name} is not installed" in found["packages"].text


def test_a_package_that_cannot_be_imported_ends_only_what_needs_it(tmp_path):
    program = (
        "import sys; sys.modules['av'] = None\n"
        "from tf_dvdgan import doctor\n"
        "for finding in doctor.examine(): print(finding)"
    )
    done = run_python("-c", program)
    assert done.returncode == 0, done.stderr
    for part in ("video decoders", "training steps on CPU:0"):
        assert f"{part}: fails. ModuleNotFoundError: import of av" in done.stdout
    assert "memory: works" in done.stdout


def test_a_machine_without_a_temporary_folder_gets_its_table(quick, monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    found = by_part(doctor.examine())
    assert found["temporary folder"].state == doctor.FAILS
    assert "No usable temporary" in found["temporary folder"].text
    assert found["training steps on CPU:0"].state == doctor.WORKS


def test_full_disks_and_small_memory_are_found(monkeypatch):
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**29))
    assert doctor._disk("disk", os.getcwd).state == doctor.FAILS
    monkeypatch.setattr(doctor, "_MEMORY_NEEDED", 1e6)
    assert doctor._memory().state == doctor.NOTE


def test_old_processors_and_pythons_are_found(monkeypatch):
    monkeypatch.setattr(doctor.machine, "instruction_sets", lambda: "no AVX2")
    assert doctor._processor().state == doctor.NOTE
    monkeypatch.setattr(doctor.onednn, "describe", lambda: "off")
    assert doctor._onednn().state == doctor.NOTE
    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.10.2")
    assert doctor._python().text == "3.10.2; it must be 3.11 to 3.13."


def test_a_store_that_loses_writes_fails(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.files, "atomic_write", lambda path, data: None)
    finding = doctor._finding("store", lambda: doctor._write_and_read(str(tmp_path)))
    assert finding.state == doctor.FAILS


@pytest.mark.slow
def test_the_command_ends_with_1_if_something_fails(tmp_path):
    done = run_module("tools.doctor", f"--path={tmp_path}")
    assert done.returncode == 0, done.stdout
    assert "training steps on CPU:0  works" in done.stdout
    done = run_module("tools.doctor", "--path=/proc/no", "--quiet")
    assert done.returncode == 1
    assert "/proc/no                fails" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
