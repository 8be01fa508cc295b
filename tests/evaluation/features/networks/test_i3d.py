"""I3D against a PyTorch forward pass, from files in every published format."""

import hashlib
import os

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.evaluation.features.networks import i3d, weights

torch = pytest.importorskip("torch")

# Name in DeepMind's files, in keras-kinetics-i3d, in pytorch-i3d; kernel, in, out.
STEM = [
    ("Conv3d_1a_7x7", "Conv3d_1a_7x7", "Conv3d_1a_7x7", 7, 3, 64),
    ("Conv3d_2b_1x1", "Conv3d_2b_1x1", "Conv3d_2b_1x1", 1, 64, 64),
    ("Conv3d_2c_3x3", "Conv3d_2c_3x3", "Conv3d_2c_3x3", 3, 64, 192),
]
BLOCKS = {
    "3b": (192, [64, 96, 128, 16, 32, 32]),
    "3c": (256, [128, 128, 192, 32, 96, 64]),
    "4b": (480, [192, 96, 208, 16, 48, 64]),
    "4c": (512, [160, 112, 224, 24, 64, 64]),
    "4d": (512, [128, 128, 256, 24, 64, 64]),
    "4e": (512, [112, 144, 288, 32, 64, 64]),
    "4f": (528, [256, 160, 320, 32, 128, 128]),
    "5b": (832, [256, 160, 320, 32, 128, 128]),
    "5c": (832, [384, 192, 384, 48, 128, 128]),
}
LOGITS = "Logits/Conv3d_0c_1x1/conv_3d"
NORM = ("beta", "moving_mean", "moving_variance")


def block_units(block: str) -> list[tuple]:
    """The six convolutions of a block: branches 0, 1a, 1b, 2a, 2b and 3."""
    width, (b0, b1a, b1b, b2a, b2b, b3) = BLOCKS[block]
    odd = "Conv3d_0a_3x3" if block == "5b" else "Conv3d_0b_3x3"
    rows = [
        ("Branch_0/Conv3d_0a_1x1", "0a_1x1", "b0", 1, width, b0),
        ("Branch_1/Conv3d_0a_1x1", "1a_1x1", "b1a", 1, width, b1a),
        ("Branch_1/Conv3d_0b_3x3", "1b_3x3", "b1b", 3, b1a, b1b),
        ("Branch_2/Conv3d_0a_1x1", "2a_1x1", "b2a", 1, width, b2a),
        (f"Branch_2/{odd}", "2b_3x3", "b2b", 3, b2a, b2b),
        ("Branch_3/Conv3d_0b_1x1", "3b_1x1", "b3b", 1, width, b3),
    ]
    return [
        (
            f"Mixed_{block}/{tf1}",
            f"Conv3d_{block}_{keras}",
            f"Mixed_{block}.{torch_}",
            *r,
        )
        for tf1, keras, torch_, *r in rows
    ]


UNITS = STEM + [unit for block in BLOCKS for unit in block_units(block)]


def random_arrays(num_classes: int) -> dict[str, np.ndarray]:
    """Random values with DeepMind's names and shapes, without the prefix."""
    rng = np.random.default_rng(num_classes)

    def normal(*shape, scale=1.0, mean=0.0):
        return (mean + scale * rng.standard_normal(shape)).astype(np.float32)

    arrays = {}
    for name, _, _, size, width, filters in UNITS:
        scale = (2.0 / (size**3 * width)) ** 0.5
        kernel = normal(size, size, size, width, filters, scale=scale)
        arrays[f"{name}/conv_3d/w"] = kernel
        norm, shape = f"{name}/batch_norm", (1, 1, 1, 1, filters)
        arrays[f"{norm}/beta"] = normal(*shape, scale=0.1)
        arrays[f"{norm}/moving_mean"] = normal(*shape, scale=0.1)
        variance = np.abs(normal(*shape, scale=0.2, mean=1.0)) + 1e-2
        arrays[f"{norm}/moving_variance"] = variance
    arrays[f"{LOGITS}/w"] = normal(1, 1, 1, 1024, num_classes, scale=0.03)
    arrays[f"{LOGITS}/b"] = normal(num_classes)
    return arrays


def torch_forward(arrays, videos, gamma=None):
    """The network in PyTorch functions, padded as TensorFlow's 'same'.

    Args:
      arrays: values with the names of `random_arrays`.
      videos: `[batch, time, height, width, 3]`.
      gamma: scale of each unit's batch normalization, by unit name.
    """
    from torch.nn import functional

    def padded(x, size, stride, value):
        pads = []
        for length, k, s in zip(x.shape[2:], size, stride, strict=True):
            total = max((-(-length // s) - 1) * s + k - length, 0)
            pads = [total // 2, total - total // 2, *pads]  # the last axis first
        return functional.pad(x, pads, value=value)

    def unit(name, x, stride=1):
        kernel = torch.tensor(arrays[f"{name}/conv_3d/w"]).permute(4, 3, 0, 1, 2)
        x = padded(x, kernel.shape[2:], [stride] * 3, 0.0)
        x = functional.conv3d(x, kernel.contiguous(), stride=stride)
        beta, mean, variance = (
            torch.tensor(arrays[f"{name}/batch_norm/{part}"].ravel()) for part in NORM
        )
        scale = torch.tensor(gamma[name]) if gamma else None
        x = functional.batch_norm(x, mean, variance, scale, beta, False, 0.0, 1e-3)
        return functional.relu(x)

    def pool(x, size, stride):
        return functional.max_pool3d(padded(x, size, stride, -np.inf), size, stride)

    x = torch.tensor(np.asarray(videos)).permute(0, 4, 1, 2, 3)
    x = pool(unit("Conv3d_1a_7x7", x, 2), (1, 3, 3), (1, 2, 2))
    x = unit("Conv3d_2c_3x3", unit("Conv3d_2b_1x1", x))
    x = pool(x, (1, 3, 3), (1, 2, 2))
    for block in BLOCKS:
        if block == "4b":
            x = pool(x, (3, 3, 3), (2, 2, 2))
        elif block == "5b":
            x = pool(x, (2, 2, 2), (2, 2, 2))
        b0, b1a, b1b, b2a, b2b, b3 = (row[0] for row in block_units(block))
        fourth = unit(b3, pool(x, (3, 3, 3), (1, 1, 1)))
        x = torch.cat(
            [unit(b0, x), unit(b1b, unit(b1a, x)), unit(b2b, unit(b2a, x)), fourth], 1
        )
    x = functional.avg_pool3d(x, (2, 7, 7), stride=1)
    kernel = torch.tensor(arrays[f"{LOGITS}/w"]).permute(4, 3, 0, 1, 2).contiguous()
    logits = functional.conv3d(x, kernel, torch.tensor(arrays[f"{LOGITS}/b"]))
    assert x.shape[3:] == (1, 1)
    return {
        "logits": logits[:, :, :, 0, 0].mean(2).numpy(),
        "features": x[:, :, :, 0, 0].mean(2).numpy(),
    }


def assert_same(found, expected):
    for key in ("logits", "features"):
        limit = 1e-4 * np.abs(expected[key]).max()
        np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=limit)
        assert expected[key].std() > 0.1


def hash_of(arrays) -> str:
    """The expected hash after converting arrays with DeepMind's names."""
    ours = {}
    for name, array in arrays.items():
        end = {"w": "kernel", "b": "bias"}.get(name.rpartition("/")[2])
        flat = array.ravel() if "batch_norm" in name else array
        ours[name[:-1] + end if end else name] = flat
    sha256 = hashlib.sha256()
    for name in sorted(ours):
        shape = ", ".join(str(side) for side in ours[name].shape)
        sha256.update(f"{name} [{shape}]\n".encode() + ours[name].tobytes())
    return sha256.hexdigest()


@pytest.fixture(scope="module")
def arrays():
    return random_arrays(400)


def prefixed(arrays):
    return {f"RGB/inception_i3d/{name}": array for name, array in arrays.items()}


def session_with(arrays) -> tf.compat.v1.Session:
    """A TensorFlow 1 session with variables of the given names and values."""
    feeds, assignments = {}, []
    for name, array in arrays.items():
        value = tf.compat.v1.placeholder(tf.float32, array.shape)
        variable = tf.compat.v1.get_variable(name, array.shape, use_resource=False)
        feeds[value] = array
        assignments.append(variable.assign(value).op)
    session = tf.compat.v1.Session()
    session.run(assignments, feeds)
    return session


def write_checkpoint(folder, arrays) -> str:
    path = str(folder / "model.ckpt")
    with tf.Graph().as_default(), session_with(prefixed(arrays)) as session:
        tf.compat.v1.train.Saver().save(session, path, write_meta_graph=False)
    return path


def write_tf1_saved_model(folder, arrays) -> str:
    path = str(folder / "hub")
    with tf.Graph().as_default(), session_with(prefixed(arrays)) as session:
        x = tf.compat.v1.placeholder(tf.float32, [1])
        tf.compat.v1.saved_model.simple_save(session, path, {"x": x}, {"y": x + 1.0})
    return path


def write_tf2_saved_model(folder, arrays) -> str:
    path = str(folder / "hub")
    module = tf.Module()
    module.held = [tf.Variable(a, name=n) for n, a in prefixed(arrays).items()]
    tf.saved_model.save(module, path)
    return path + "/"


def write_keras(folder, arrays) -> str:
    """The h5 file of a Keras model with the port's layer names, not its connections."""
    inputs, outputs, values = [], [], []
    for name, keras, _, size, width, filters in UNITS:
        inputs.append(tf.keras.Input([size, size, size, width]))
        conv = tf.keras.layers.Conv3D(
            filters, size, use_bias=False, name=f"{keras}_conv"
        )
        norm = tf.keras.layers.BatchNormalization(scale=False, name=f"{keras}_bn")
        outputs.append(norm(conv(inputs[-1])))
        parts = [arrays[f"{name}/batch_norm/{part}"].ravel() for part in NORM]
        values += [(conv, [arrays[f"{name}/conv_3d/w"]]), (norm, parts)]
    inputs.append(tf.keras.Input([1, 1, 1, 1024]))
    num_classes = len(arrays[f"{LOGITS}/b"])
    conv = tf.keras.layers.Conv3D(num_classes, 1, name="Conv3d_6a_1x1_conv")
    outputs.append(conv(inputs[-1]))
    values.append((conv, [arrays[f"{LOGITS}/w"], arrays[f"{LOGITS}/b"]]))
    model = tf.keras.Model(inputs, outputs)
    for layer, array in values:
        layer.set_weights(array)
    path = str(folder / "rgb_inception_i3d_tf_dim_ordering_tf_kernels.h5")
    model.save_weights(path)
    return path


def write_pytorch(folder, arrays, gamma=None) -> str:
    state = {}
    for name, _, theirs, *_, filters in UNITS:
        kernel = arrays[f"{name}/conv_3d/w"].transpose(4, 3, 0, 1, 2)
        state[f"{theirs}.conv3d.weight"] = torch.tensor(kernel)
        scale = gamma[name] if gamma else np.ones(filters, np.float32)
        state[f"{theirs}.bn.weight"] = torch.tensor(scale)
        for ours, part in zip(
            NORM, ("bias", "running_mean", "running_var"), strict=True
        ):
            array = arrays[f"{name}/batch_norm/{ours}"].ravel()
            state[f"{theirs}.bn.{part}"] = torch.tensor(array)
        state[f"{theirs}.bn.num_batches_tracked"] = torch.tensor(7)
    kernel = arrays[f"{LOGITS}/w"].transpose(4, 3, 0, 1, 2)
    state["logits.conv3d.weight"] = torch.tensor(kernel)
    state["logits.conv3d.bias"] = torch.tensor(arrays[f"{LOGITS}/b"])
    path = str(folder / "rgb_imagenet.pt")
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def converted(arrays, tmp_path_factory):
    """The path of a converted checkpoint, and its metadata."""
    folder = tmp_path_factory.mktemp("i3d")
    path = str(folder / "i3d.weights.h5")
    return path, weights.convert(write_checkpoint(folder, arrays), "i3d", path)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((1, 17, 224, 224, 3), marks=pytest.mark.slow),
        (2, 9, 193, 210, 3),
    ],
)
def test_forward_matches_pytorch(arrays, converted, shape):
    network, metadata = weights.load(converted[0])
    videos = tf.random.stateless_uniform(shape, [0, 1], -1.0, 1.0)
    found = network(videos)
    assert found["logits"].shape == [shape[0], 400]
    assert found["features"].shape == [shape[0], i3d.I3D.FEATURES]
    assert_same(found, torch_forward(arrays, videos))
    assert (metadata.network, metadata.num_classes, metadata.source) == (
        "i3d",
        400,
        "model.ckpt",
    )


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(write_tf1_saved_model, marks=pytest.mark.slow),
        pytest.param(write_tf2_saved_model, marks=pytest.mark.slow),
        pytest.param(write_keras, marks=pytest.mark.slow),
        write_pytorch,
    ],
)
def test_hash_does_not_depend_on_the_format(arrays, converted, tmp_path, write):
    path = str(tmp_path / "x.weights.h5")
    metadata = weights.convert(write(tmp_path, arrays), "i3d", path)
    assert metadata.hash == converted[1].hash == hash_of(arrays)
    assert metadata.num_classes == 400


def test_kinetics_600_checkpoint_without_prefix_and_with_optimizer_slots(tmp_path):
    arrays = random_arrays(600)
    held = dict(arrays, global_step=np.zeros([], np.float32))
    for name, array in arrays.items():
        if "moving" not in name:
            held[f"{name}/Momentum"] = np.zeros_like(array)
    path = str(tmp_path / "model.ckpt")
    with tf.Graph().as_default(), session_with(held) as session:
        tf.compat.v1.train.Saver().save(session, path, write_meta_graph=False)
    metadata = weights.convert(
        path, "i3d", str(tmp_path / "x.weights.h5"), "Kinetics-600"
    )
    assert metadata.num_classes == 600
    assert metadata.hash == hash_of(arrays)
    assert metadata.source == "model.ckpt (Kinetics-600)"


def test_batch_normalization_scale_is_folded_into_the_kernel(arrays, tmp_path):
    rng = np.random.default_rng(0)
    gamma = {
        name: rng.normal(1.0, 0.3, filters).astype(np.float32)
        for name, *_, filters in UNITS
    }
    path = str(tmp_path / "x.weights.h5")
    weights.convert(write_pytorch(tmp_path, arrays, gamma), "i3d", path)
    videos = tf.random.stateless_uniform([1, 9, 200, 200, 3], [0, 2], -1.0, 1.0)
    network, _ = weights.load(path)
    assert_same(network(videos), torch_forward(arrays, videos, gamma))


def test_is_float32_under_a_mixed_precision_policy():
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    network = i3d.I3D(3)
    found = network(tf.zeros([1, *i3d.I3D.INPUT]))
    assert {x.dtype for x in found.values()} == {tf.float32}
    assert {v.dtype for v in network.variables} == {tf.float32}


def test_parameter_count_with_400_classes(arrays):
    count = sum(array.size for array in arrays.values())
    assert count == 12_704_544  # as in the module docstring


@pytest.mark.parametrize(
    "shape", [(1, 8, 224, 224, 3), (1, 16, 192, 224, 3), (1, 16, 224, 225, 3)]
)
def test_videos_too_small_for_the_pooling_are_rejected(shape):
    with pytest.raises(
        ValueError, match="at least 9 frames, with a height and width of 193 to 224"
    ):
        i3d.I3D(2)(tf.zeros(shape))


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("Mixed_4d/Branch_2/Conv3d_0b_3x3/conv_3d/w", "tf1 format: .*4d/.* is missing"),
        (f"{LOGITS}/b", "tf1 format: .*Logits/.* is missing"),
    ],
)
def test_missing_arrays_are_named(arrays, tmp_path, missing, message):
    path = str(tmp_path / "x.npz")
    np.savez(path, **{n: a for n, a in prefixed(arrays).items() if missing not in n})
    with pytest.raises(errors.UserError, match=message) as caught:
        weights.convert(path, "i3d", str(tmp_path / "x.weights.h5"))
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["x.npz"]


def test_weights_of_the_flow_network_are_rejected_by_their_shape(arrays, tmp_path):
    path = str(tmp_path / "x.npz")
    stem = "Conv3d_1a_7x7/conv_3d/w"
    np.savez(path, **prefixed(dict(arrays, **{stem: arrays[stem][:, :, :, :2]})))
    with pytest.raises(
        errors.UserError, match=r"kernel has the shape \[7, 7, 7, 2, 64\] instead"
    ):
        weights.convert(path, "i3d", str(tmp_path / "x.weights.h5"))
