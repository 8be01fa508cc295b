"""C3D at full size against PyTorch, and its weights in each format."""

import numpy as np
import pytest
import tensorflow as tf
import torch
from torch.nn import functional

from tf_dvdgan.evaluation.features.networks import c3d
from tf_dvdgan.models import variables

CLASSES = 5
SHAPES = {  # (out, in) in the published npz; convolution kernels are 3x3x3
    "conv1a": (64, 3),
    "conv2a": (128, 64),
    "conv3a": (256, 128),
    "conv3b": (256, 256),
    "conv4a": (512, 256),
    "conv4b": (512, 512),
    "conv5a": (512, 512),
    "conv5b": (512, 512),
    "fc6": (4096, 8192),
    "fc7": (4096, 4096),
    "fc8": (CLASSES, 4096),
}
RENAMED = {"conv1a": "conv1", "conv2a": "conv2"}
NARROW = {name: (2, 8192 if name == "fc6" else 3) for name in SHAPES}


def as_chainer(shapes: dict[str, tuple[int, int]]) -> dict[str, np.ndarray]:
    """Named as in `conv3d_deepnetA_ucf.npz`, scaled to keep activations alive."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name, shape in shapes.items():
        shape = (*shape, 3, 3, 3) if "conv" in name else shape
        kernel = rng.standard_normal(shape, np.float32)
        arrays[f"{name}/W"] = kernel * np.float32(np.sqrt(2.0 / kernel[0].size))
        arrays[f"{name}/b"] = rng.normal(0.0, 0.1, shape[0]).astype(np.float32)
    return arrays


@pytest.fixture(scope="module")
def network() -> c3d.C3D:
    network = c3d.C3D(CLASSES)
    network.build([None, *c3d.C3D.INPUT])
    return network


def assign(network: tf.keras.Model, arrays: dict[str, np.ndarray]) -> None:
    ours = variables.by_path(network)
    assert set(ours) == set(arrays)
    for name, array in arrays.items():
        ours[name].assign(array)


def caffe(arrays: dict[str, np.ndarray], videos: np.ndarray):
    """Logits and fc7 as in Caffe and Chainer: pooling rounds sizes up."""
    parts = {name: torch.from_numpy(array) for name, array in arrays.items()}
    x = torch.from_numpy(videos).permute(0, 4, 1, 2, 3)
    for row in (["1a"], ["2a"], ["3a", "3b"], ["4a", "4b"], ["5a", "5b"]):
        for name in row:
            kernel, bias = parts[f"conv{name}/W"], parts[f"conv{name}/b"]
            x = functional.relu(functional.conv3d(x, kernel, bias, padding=1))
        window = (1 if row == ["1a"] else 2, 2, 2)
        x = functional.max_pool3d(x, window, ceil_mode=True)
    x = x.flatten(1)
    for name in ("fc6", "fc7"):
        x = functional.relu(
            functional.linear(x, parts[f"{name}/W"], parts[f"{name}/b"])
        )
    logits = functional.linear(x, parts["fc8/W"], parts["fc8/b"])
    return logits.numpy(), x.numpy()


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(
        found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
    )


@pytest.mark.slow
def test_forward_matches_caffe(network):
    arrays = as_chainer(SHAPES)
    assign(network, c3d.FORMATS["chainer"](arrays))
    rng = np.random.default_rng(1)
    videos = rng.standard_normal([1, *c3d.C3D.INPUT], np.float32)
    outputs = tf.function(network)(videos)
    logits, features = caffe(arrays, videos)
    assert features.std() > 0.1
    close(outputs["logits"], logits)
    close(outputs["features"], features)
    assert outputs["features"].shape == [1, c3d.C3D.FEATURES]


def as_pytorch(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    renamed = {}
    for key, array in arrays.items():
        layer, part = key.split("/")
        part = {"W": "weight", "b": "bias"}[part]
        renamed[f"{prefix}{RENAMED.get(layer, layer)}.{part}"] = array
    return renamed


def as_keras(arrays: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """As the port's converter writes them; fc6 takes (height, width, channels)."""
    renamed = {}
    for key, array in arrays.items():
        layer, part = key.split("/")
        if key == "fc6/W":
            by_position = array.T.reshape(512, 4, 4, -1)
            array = by_position.transpose(1, 2, 0, 3).reshape(8192, -1)
        elif part == "W":
            array = array.T if array.ndim == 2 else array.transpose(2, 3, 4, 1, 0)
        renamed[name.format(layer=RENAMED.get(layer, layer), part=part)] = array
    return renamed


@pytest.mark.parametrize(
    "kind, renamed",
    [
        ("pytorch", lambda a: as_pytorch(a, "")),
        ("pytorch", lambda a: as_pytorch(a, "module.")),
        ("keras", lambda a: as_keras(a, "{layer}/{layer}_{part}")),
        ("keras", lambda a: as_keras(a, "{layer}/{layer}/{part}")),
    ],
)
def test_all_formats_convert_to_the_same_arrays(kind, renamed):
    arrays = as_chainer(NARROW)
    expected = c3d.FORMATS["chainer"](arrays)
    found = c3d.FORMATS[kind](renamed(arrays))
    assert set(found) == set(expected)
    for name in expected:
        assert np.array_equal(found[name], expected[name]), name


@pytest.mark.parametrize(
    "kind, renamed",
    [
        ("chainer", lambda a: a),
        ("pytorch", lambda a: as_pytorch(a, "")),
        ("keras", lambda a: as_keras(a, "{layer}/{layer}_{part}")),
    ],
)
def test_missing_arrays_are_named(kind, renamed):
    arrays = renamed(as_chainer(NARROW))
    arrays = {name: array for name, array in arrays.items() if "conv3b" not in name}
    with pytest.raises(KeyError, match="conv3b"):
        c3d.FORMATS[kind](arrays)


def test_parameter_count_is_as_published(network):
    sizes = {name: int(tf.size(v)) for name, v in variables.by_path(network).items()}
    of_101_classes = sum(sizes.values()) + (101 - CLASSES) * 4097
    assert of_101_classes == 78_409_573
    assert sizes["conv1a/kernel"] == 5184 and sizes["fc6/kernel"] == 8192 * 4096
