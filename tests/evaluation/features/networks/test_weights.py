"""Weights files: reading, writing, and errors for invalid files."""

import os
import pickle
import sys
import time
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import array_files, errors, state_dict
from tf_dvdgan.evaluation.features import networks
from tf_dvdgan.evaluation.features.networks import (
    small_classifier,
    weight_formats,
    weights,
)
from tf_dvdgan.models import variables

torch = pytest.importorskip("torch")


class Tiny(tf.keras.Model):
    """A minimal network."""

    FEATURES = 4
    INPUT = (2, 4, 4, 3)

    def __init__(self, num_classes, name=None):
        super().__init__(name=name)
        self.convolution = tf.keras.layers.Conv3D(4, 1, use_bias=False, name="a/conv")
        self.linear = tf.keras.layers.Dense(num_classes, name="logits")

    def call(self, videos, training=False):
        features = tf.reduce_mean(self.convolution(videos), axis=[1, 2, 3])
        return {"logits": self.linear(features), "features": features}


def _from_others(arrays):
    return {
        "a/conv/kernel": arrays["A/w"],
        "logits/kernel": arrays["L/w"],
        "logits/bias": arrays["L/b"],
    }


def _from_transposed(arrays):
    if "T/w" in arrays:
        raise ValueError("T is not transposed")
    return _from_others({"A/w": arrays["T/v"]})


FORMATS = {"others": _from_others, "transposed": _from_transposed}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, "tiny", Tiny)


@pytest.fixture
def arrays():
    """Weights for 5 classes in the format 'others'."""
    rng = np.random.default_rng(0)
    shapes = {"A/w": [1, 1, 1, 3, 4], "L/w": [4, 5], "L/b": [5]}
    return {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}


def write_npz(folder, arrays) -> str:
    path = str(folder / "x.npz")
    np.savez(path, **arrays)
    return path


def write_h5(folder, arrays) -> str:
    path = str(folder / "x.hdf5")
    with h5py.File(path, "w") as h5:
        for name, array in arrays.items():
            h5[f"model_weights/{name}:0"] = array
            h5[f"optimizer_weights/Adam/{name}:0"] = array
    return path


def write_torch(folder, arrays, legacy=False) -> str:
    path = str(folder / "x.pth.tar")
    state = {f"module.{name}": torch.tensor(array) for name, array in arrays.items()}
    held = {"epoch": 3, "state_dict": state}
    torch.save(held, path, _use_new_zipfile_serialization=not legacy)
    return path


def write_old_torch(folder, arrays) -> str:
    return write_torch(folder, arrays, legacy=True)


def write_checkpoint(folder, arrays) -> str:
    """TensorFlow 2's format, which is object-based."""
    held = [tf.Variable(array, name=name) for name, array in arrays.items()]
    return tf.train.Checkpoint(held=held).write(str(folder / "checkpoint-7"))


def write_checkpoint_folder(folder, arrays) -> str:
    write_checkpoint(folder, arrays)
    return str(folder)


def write_checkpoint_index(folder, arrays) -> str:
    return write_checkpoint(folder, arrays) + ".index"


WRITERS = [
    *(write_npz, write_h5, write_torch, write_old_torch, write_checkpoint),
    *(write_checkpoint_folder, write_checkpoint_index),
]


@pytest.mark.parametrize("write", WRITERS)
def test_every_container_is_read_to_the_same_arrays(write, arrays, tmp_path):
    found = weight_formats.read(write(tmp_path, arrays))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    others = set(found) - set(arrays)
    assert all("checkpoint" in name or "save_counter" in name for name in others), (
        others
    )


def test_converted_weights_are_loaded_here_and_by_keras(arrays, tmp_path):
    path = str(tmp_path / "tiny.weights.h5")
    written = weights.convert(write_npz(tmp_path, arrays), "tiny", path, "by hand")
    network, metadata = weights.load(path)
    assert metadata == written
    assert (metadata.network, metadata.num_classes) == ("tiny", 5)
    assert metadata.source == "x.npz (by hand)"
    other = Tiny(5)
    other(tf.zeros([1, *Tiny.INPUT]))
    other.load_weights(path)
    for found in (network, other):
        values = {n: v.numpy() for n, v in variables.by_path(found).items()}
        for name, array in _from_others(arrays).items():
            np.testing.assert_array_equal(values[name], array)
    assert weights.digest(other) == metadata.hash


def test_a_renamed_file_is_loaded(arrays, tmp_path):
    path = str(tmp_path / "tiny.weights.h5")
    weights.convert(write_npz(tmp_path, arrays), "tiny", path)
    os.rename(path, tmp_path / "other")
    assert weights.load(str(tmp_path / "other"))[1].num_classes == 5


def test_hash_covers_values_and_shapes_but_not_layout(arrays, tmp_path):
    path = str(tmp_path / "tiny.weights.h5")

    def hash_of(**changes):
        source = write_npz(tmp_path, arrays | changes)
        return weights.convert(source, "tiny", path).hash

    plain = hash_of()
    in_another_order = np.asfortranarray(arrays["L/w"]).astype(">f8")
    assert hash_of(**{"L/w": in_another_order}) == plain
    nudged = arrays["L/b"].copy()
    nudged[2] = np.nextafter(nudged[2], np.float32(9))
    assert hash_of(**{"L/b": nudged}) != plain
    assert hash_of(**{"L/w": arrays["L/w"].reshape(5, 4).T}) != plain


def test_variable_names_do_not_depend_on_where_a_network_is_built():
    with tf.name_scope("outside"):
        first = Tiny(2)
        first(tf.zeros([1, *Tiny.INPUT]))
    second = Tiny(2, name="another")
    tf.function(second)(tf.zeros([1, *Tiny.INPUT]))
    names = {"a/conv/kernel", "logits/kernel", "logits/bias"}
    assert set(variables.by_path(first)) == set(variables.by_path(second)) == names
    plain = tf.keras.Sequential([tf.keras.layers.Dense(2, name="d")])
    plain.build([1, 3])
    assert set(variables.by_path(plain)) == {"d/kernel", "d/bias"}


def test_a_trained_network_is_saved_without_its_optimizer(tmp_path):
    network = small_classifier.SmallClassifier(3)
    network.compile("adam", {"logits": "mse"})
    videos = tf.random.stateless_uniform([4, *network.INPUT], [0, 0])
    network.fit(videos, {"logits": tf.zeros([4, 3])}, verbose=0)
    values = {n: v.numpy() for n, v in variables.by_path(network).items()}
    path = str(tmp_path / "own.weights.h5")
    weights.save("small_classifier", values, path, "my clips")
    loaded, metadata = weights.load(path)
    assert metadata.hash == weights.digest(network)
    assert (metadata.num_classes, metadata.source) == (3, "my clips")
    np.testing.assert_allclose(loaded(videos)["logits"], network(videos)["logits"])
    with h5py.File(path) as h5:
        assert "optimizer" not in h5


def damage(path: str, how: str, value: np.ndarray) -> None:
    with open(path, "r+b") as file:
        data = file.read()
        if how == "truncated":
            file.truncate(len(data) // 2)
        elif how == "changed value":
            file.seek(data.index(value.tobytes()) + 1)
            file.write(b"\xff")
    if how == "missing layer":
        with h5py.File(path, "r+") as h5:
            del h5["linear"]
    elif how == "wrong attribute":
        with h5py.File(path, "r+") as h5:
            h5.attrs["num_classes"] = 6


@pytest.mark.parametrize(
    "how", ["changed value", "truncated", "missing layer", "wrong attribute"]
)
def test_a_damaged_file_is_reported(arrays, tmp_path, how):
    path = str(tmp_path / "tiny.weights.h5")
    weights.convert(write_npz(tmp_path, arrays), "tiny", path)
    damage(path, how, arrays["L/b"])
    with pytest.raises(errors.UserError, match="damaged") as caught:
        weights.load(path)
    assert "\n" not in str(caught.value)


def test_files_of_other_programs_are_rejected(arrays, tmp_path):
    with pytest.raises(errors.UserError, match="no weights file"):
        weights.load(str(tmp_path / "nothing.weights.h5"))
    for write in (write_npz, write_h5):
        with pytest.raises(
            errors.UserError, match=r"not written by tools\.convert_weights"
        ):
            weights.load(write(tmp_path, arrays))


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def bad_source(folder, arrays, kind: str) -> str:
    path = str(folder / "x")
    if kind == "text":
        (folder / "x").write_text("weights")
    elif kind == "folder":
        os.mkdir(path)
    elif kind == "truncated npz":
        os.truncate(write_npz(folder, arrays), 300)
        path += ".npz"
    elif kind == "truncated checkpoint":
        path = write_checkpoint(folder, arrays)
        os.truncate(f"{path}.data-00000-of-00001", 30)
    elif kind == "pickled npz":
        path += ".npz"
        np.savez(path, a=np.array([Malicious()], dtype=object))
    elif kind == "pickle":
        (folder / "x").write_bytes(pickle.dumps(Malicious()))
    elif kind == "code in a state dict":
        torch.save({"a": Malicious()}, path)
    elif kind == "one tensor":
        torch.save(torch.zeros(3), path)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "There are no weights at"),
        ("text", "is not in a known format"),
        ("folder", "must be the folder of a SavedModel or of a single checkpoint"),
        ("truncated npz", "cannot be read|is not in a known format"),
        ("truncated checkpoint", "cannot be read"),
        ("pickled npz", "cannot be read"),
        ("pickle", "which is not executed"),
        ("code in a state dict", "which is not executed"),
        ("one tensor", "holds a Tensor, not a state dict"),
    ],
)
def test_a_source_that_cannot_be_read_is_reported(
    kind, message, arrays, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    source = bad_source(tmp_path, arrays, kind)
    with pytest.raises(errors.UserError, match=message) as caught:
        weights.convert(source, "tiny", str(tmp_path / "y.weights.h5"))
    assert "\n" not in str(caught.value)
    assert not os.path.exists("executed") and not os.path.exists("y.weights.h5")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"L/b": None}, "others format: L/b is missing; .* T/v is missing"),
        ({"A/w": None, "T/w": np.zeros(1)}, "transposed format: T is not transposed"),
        ({"L/w": np.zeros([4, 6])}, r"bias are for \[5, 6\] classes"),
        ({"A/w": np.zeros([1, 1, 1, 3, 8])}, r"the shape \[1, 1, 1, 3, 8\] instead of"),
        ({"L/w": np.zeros([]), "L/b": np.zeros([])}, r"are for \[\] classes"),
    ],
)
def test_weights_of_another_network_are_reported(changes, message, arrays, tmp_path):
    held = {n: a for n, a in (arrays | changes).items() if a is not None}
    with pytest.raises(errors.UserError, match=message) as caught:
        weights.convert(
            write_npz(tmp_path, held), "tiny", str(tmp_path / "y.weights.h5")
        )
    assert "'x.npz'" in str(caught.value) or "/x.npz'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("network", "output", "message"),
    [
        ("tinny", "y.weights.h5", "There is no network 'tinny'.* mean 'tiny'"),
        (
            "small_classifier",
            "y.weights.h5",
            "No published weights of small_classifier",
        ),
        ("tiny", "y.h5", "ends in .weights.h5"),
        ("tiny", "x.npz/y.weights.h5", "cannot be written"),
    ],
)
def test_wrong_arguments_are_reported(network, output, message, arrays, tmp_path):
    source = write_npz(tmp_path, arrays)
    with pytest.raises(errors.UserError, match=message) as caught:
        weights.convert(source, network, str(tmp_path / output))
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["x.npz"]


def test_pytorch_files_without_pytorch_are_reported(arrays, tmp_path, monkeypatch):
    source = write_torch(tmp_path, arrays)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(errors.UserError, match="PyTorch: pip install"):
        weight_formats.read(source)


def metadata_of(path, **changes) -> None:
    metadata = {"network": "small_classifier", "num_classes": 2, "source": "x"}
    with h5py.File(path, "a") as file:
        file.attrs.update(metadata | {"hash": "0", "class_names": "[]"} | changes)


def fill(path):
    with h5py.File(path, "a") as file:
        file.create_dataset("a", (3_500_000_000,), "f4", chunks=(1024,), fillvalue=1.0)


def elsewhere(path):
    secret = path.with_name("secret")
    secret.write_bytes(bytes(4000))
    with h5py.File(path, "a") as file:
        file.create_dataset("a", (1000,), "f4", external=[(str(secret), 0, 4000)])


def linked(path):
    with h5py.File(path, "a") as file:
        file["a"] = h5py.ExternalLink("other.h5", "/a")


def many_classes(path):
    metadata_of(path, num_classes=10**9)


def names_of_a_number(path):
    metadata_of(path, class_names="3")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (fill, "would expand to 14000000000"),
        (elsewhere, "are in other files"),
        (linked, "'a' is a link"),
        (many_classes, "for 1000000000 classes"),
        (names_of_a_number, "not iterable"),
    ],
)
def test_a_strangers_file_is_refused_before_it_is_read(tmp_path, spoil, reason):
    path = tmp_path / "a.weights.h5"
    metadata_of(path)
    spoil(path)
    with pytest.raises(errors.UserError, match=reason):
        weights.load(str(path))
    if spoil not in (many_classes, names_of_a_number):
        with pytest.raises(errors.UserError, match=reason):
            weight_formats.read(str(path))


def test_shared_groups_are_visited_once(tmp_path):
    """Two names for each next group: 2**40 paths through 40 groups."""
    path = tmp_path / "a.weights.h5"
    metadata_of(path)
    with h5py.File(path, "a") as file:
        group = file.create_group("top")
        for _ in range(40):
            group["a"] = group["b"] = file.create_group(None)
            group = group["a"]
        group["x"] = np.zeros(3)
    began = time.perf_counter()
    assert array_files.check_hdf5(str(path)) is None
    assert time.perf_counter() - began < 10


def test_hdf5_without_values_and_of_deep_groups(tmp_path):
    path = str(tmp_path / "a.h5")
    with h5py.File(path, "w") as file:
        file["empty"] = h5py.Empty("f4")
    assert array_files.check_hdf5(path) is None
    with h5py.File(path, "a") as file:
        group = file
        for _ in range(3000):
            group = group.create_group("a")
    with pytest.raises(ValueError, match="too deeply nested"):
        array_files.check_hdf5(path)


def test_a_tensor_that_repeats_one_number_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = str(tmp_path / "a.pth")
    torch.save({"a": torch.zeros(1, dtype=torch.float16).expand(2**33)}, path)
    with pytest.raises(ValueError, match=f"would expand to {2**35}"):
        state_dict.load(path)


def test_an_npz_whose_header_lies_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (9000000000,), }"
    header = header.ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", data + bytes(100))
    with pytest.raises(errors.UserError, match="less than its header says"):
        weight_formats.read(str(path))
