"""3-D ResNet-18 against PyTorch: both kinds of shortcut, inference and training."""

import numpy as np
import pytest
import tensorflow as tf
import torch
from torch.nn import functional

from tf_dvdgan.evaluation.features.networks import resnet3d
from tf_dvdgan.models import variables

CLASSES = 7
WIDTHS = (64, 128, 256, 512)


def state_dict(shortcut: str, prefix: str = "module.") -> dict[str, np.ndarray]:
    """Random values in the format of Hara's code."""
    rng = np.random.default_rng(0)
    state = {}

    def convolve(name: str, out: int, channels: int, size: int) -> None:
        shape = (out, channels, size, size, size)
        kernel = rng.standard_normal(shape, np.float32)
        state[f"{name}.weight"] = kernel * np.float32(np.sqrt(2 / kernel[0].size))

    def normalize(name: str, width: int) -> None:
        for part, values in (
            ("weight", rng.uniform(0.5, 1.5, width)),
            ("bias", rng.normal(0.0, 0.1, width)),
            ("running_mean", rng.normal(0.0, 0.1, width)),
            ("running_var", rng.uniform(0.5, 1.5, width)),
        ):
            state[f"{name}.{part}"] = values.astype(np.float32)
        state[f"{name}.num_batches_tracked"] = np.array(3)

    convolve("conv1", 64, 3, 7)
    normalize("bn1", 64)
    channels = 64
    for stage, width in enumerate(WIDTHS, start=1):
        for i in range(2):
            name = f"layer{stage}.{i}"
            convolve(f"{name}.conv1", width, channels if i == 0 else width, 3)
            normalize(f"{name}.bn1", width)
            convolve(f"{name}.conv2", width, width, 3)
            normalize(f"{name}.bn2", width)
        if stage > 1 and shortcut == "B":
            convolve(f"layer{stage}.0.downsample.0", width, channels, 1)
            normalize(f"layer{stage}.0.downsample.1", width)
        channels = width
    state["fc.weight"] = rng.normal(0.0, 0.05, [CLASSES, 512]).astype(np.float32)
    state["fc.bias"] = rng.normal(0.0, 0.1, [CLASSES]).astype(np.float32)
    return {prefix + name: array for name, array in state.items()}


class Plain:
    """Hara's forward pass in PyTorch functions; training updates its statistics."""

    def __init__(self, state: dict[str, np.ndarray], training: bool = False):
        self.state = {
            name.removeprefix("module."): torch.from_numpy(np.array(array))
            for name, array in state.items()
        }
        self.training = training

    def convolve(self, name: str, x, stride, padding: int):
        return functional.conv3d(x, self.state[f"{name}.weight"], None, stride, padding)

    def normalize(self, name: str, x):
        parts = ("running_mean", "running_var", "weight", "bias")
        parts = [self.state[f"{name}.{part}"] for part in parts]
        return functional.batch_norm(x, *parts, self.training, 0.1, 1e-5)

    def shortcut(self, name: str, x, width: int, stride: int):
        if stride == 1:
            return x
        if f"{name}.downsample.0.weight" in self.state:
            x = self.convolve(f"{name}.downsample.0", x, stride, 0)
            return self.normalize(f"{name}.downsample.1", x)
        x = functional.avg_pool3d(x, 1, stride)
        return torch.cat(
            [x, torch.zeros(x.shape[0], width - x.shape[1], *x.shape[2:])], 1
        )

    def __call__(self, videos: np.ndarray):
        x = torch.from_numpy(videos).permute(0, 4, 1, 2, 3)
        x = functional.relu(
            self.normalize("bn1", self.convolve("conv1", x, (1, 2, 2), 3))
        )
        x = functional.max_pool3d(x, 3, 2, 1)
        for stage, width in enumerate(WIDTHS, start=1):
            for i in range(2):
                name, stride = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
                y = self.convolve(f"{name}.conv1", x, stride, 1)
                y = functional.relu(self.normalize(f"{name}.bn1", y))
                y = self.normalize(
                    f"{name}.bn2", self.convolve(f"{name}.conv2", y, 1, 1)
                )
                x = functional.relu(y + self.shortcut(name, x, width, stride))
        features = x.mean(dim=(2, 3, 4))
        logits = functional.linear(
            features, self.state["fc.weight"], self.state["fc.bias"]
        )
        return logits.numpy(), features.numpy()


def loaded(state: dict[str, np.ndarray], **kwargs) -> resnet3d.ResNet3D18:
    network = resnet3d.ResNet3D18(CLASSES, **kwargs)
    network(tf.zeros([1, 4, 32, 32, 3]))
    arrays = resnet3d.FORMATS["pytorch"](state)
    ours = variables.by_path(network)
    assert set(ours) == set(arrays)
    for name, array in arrays.items():
        ours[name].assign(array)
    return network


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(
        found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
    )


def clips(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal([*shape, 3], np.float32)


@pytest.mark.parametrize(
    "shortcut, prefix, shape",
    [
        ("A", "module.", (2, 16, 48, 40)),
        ("B", "module.", (2, 16, 48, 40)),
        ("B", "", (1, 9, 33, 47)),  # odd sizes
    ],
)
def test_forward_matches_hara(shortcut, prefix, shape):
    state, videos = state_dict(shortcut, prefix), clips(*shape)
    outputs = tf.function(loaded(state))(videos)
    logits, features = Plain(state)(videos)
    assert features.std() > 0.1
    close(outputs["logits"], logits)
    close(outputs["features"], features)
    assert outputs["features"].shape[1] == resnet3d.ResNet3D18.FEATURES


def test_training_matches_hara():
    """Logits with the batch's statistics, and the updated moving statistics."""
    state, videos = state_dict("B"), clips(4, 16, 48, 40)
    network = loaded(state, dropout_rate=0.0)
    plain = Plain(state, training=True)
    close(tf.function(network)(videos, training=True)["logits"], plain(videos)[0])
    ours = variables.by_path(network)
    for name, theirs in (
        ("bn1", "bn1"),
        ("layer2_0/downsample_bn", "layer2.0.downsample.1"),
        ("layer4_1/bn2", "layer4.1.bn2"),
    ):
        close(ours[f"{name}/moving_mean"], plain.state[f"{theirs}.running_mean"])
    np.testing.assert_allclose(  # PyTorch uses the unbiased variance
        ours["bn1/moving_variance"], plain.state["bn1.running_var"], rtol=1e-3
    )


def test_dropout_is_only_active_in_training():
    network, videos = resnet3d.ResNet3D18(CLASSES), clips(2, 4, 32, 32)

    def logits(training: bool) -> np.ndarray:
        return network(videos, training=training)["logits"].numpy()

    np.testing.assert_array_equal(logits(False), logits(False))
    assert np.abs(logits(True) - logits(True)).max() > 1e-3


def test_every_weight_has_a_gradient():
    network = resnet3d.ResNet3D18(CLASSES)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(clips(2, 8, 32, 32), training=True)["logits"] ** 2)
    gradients = tape.gradient(loss, network.trainable_variables)
    assert all(tf.reduce_any(g != 0.0) for g in gradients)


def test_is_float32_under_a_mixed_precision_policy():
    state, videos = state_dict("B"), clips(1, 8, 32, 32)
    expected = loaded(state)(videos)["logits"]
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    np.testing.assert_array_equal(loaded(state)(videos)["logits"], expected)


def test_missing_arrays_are_named():
    state = state_dict("B")
    del state["module.layer3.1.bn2.running_var"]
    with pytest.raises(KeyError, match=r"layer3\.1\.bn2\.running_var"):
        resnet3d.FORMATS["pytorch"](state)


def test_parameter_count_matches_hara():
    network = resnet3d.ResNet3D18(101)
    network.build([None, *resnet3d.ResNet3D18.INPUT])
    assert sum(int(tf.size(v)) for v in network.trainable_variables) == 33_255_717
