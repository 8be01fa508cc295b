"""The small classifier against PyTorch."""

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan.evaluation.features.networks import small_classifier, weights
from tf_dvdgan.models import variables

torch = pytest.importorskip("torch")

CLASSES = 5


@pytest.fixture(scope="module")
def network() -> small_classifier.SmallClassifier:
    """With random weights and statistics instead of initial values."""
    network = small_classifier.SmallClassifier(CLASSES)
    network(np.zeros([1, *small_classifier.SmallClassifier.INPUT], np.float32))
    rng = np.random.default_rng(0)
    for name, variable in variables.by_path(network).items():
        shape = variable.shape
        values = rng.normal(0.0, np.sqrt(2.0 / np.prod(shape[:-1])), shape)
        if "variance" in name or "gamma" in name:
            values = rng.uniform(0.5, 2.0, shape)
        variable.assign(values)
    return network


def in_pytorch(network, videos: np.ndarray) -> dict[str, np.ndarray]:
    values = {
        n: torch.from_numpy(v.numpy()) for n, v in variables.by_path(network).items()
    }
    x = torch.from_numpy(videos.transpose(0, 4, 1, 2, 3))
    for i, strides in enumerate([(1, 2, 2), (2, 2, 2), (1, 2, 2), (2, 2, 2)]):
        # TensorFlow's 'same' puts the larger half of the padding at the end.
        pads = []
        for size, stride in zip(x.shape[2:], strides, strict=True):
            total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
            pads = [total // 2, total - total // 2, *pads]
        kernel = values[f"conv{i}/kernel"].permute(4, 3, 0, 1, 2)
        x = torch.nn.functional.pad(x, pads)
        x = torch.nn.functional.conv3d(x, kernel, stride=strides)
        names = ("moving_mean", "moving_variance", "gamma", "beta")
        norm = [values[f"norm{i}/{name}"] for name in names]
        x = torch.relu(torch.nn.functional.batch_norm(x, *norm, eps=1e-3))
    features = x.mean(dim=(2, 3, 4))
    logits = features @ values["logits/kernel"] + values["logits/bias"]
    return {"logits": logits.numpy(), "features": features.numpy()}


@pytest.mark.parametrize("shape", [(8, 32, 32), (5, 17, 22)])
def test_forward_matches_pytorch(network, shape):
    rng = np.random.default_rng(1)
    videos = rng.uniform(-1.0, 1.0, [3, *shape, 3]).astype(np.float32)
    outputs, expected = network(videos), in_pytorch(network, videos)
    assert set(outputs) == set(expected)
    assert outputs["features"].shape == (3, network.FEATURES)
    for name, array in expected.items():
        np.testing.assert_allclose(outputs[name], array, rtol=1e-4, atol=1e-5)


def test_parameter_count(network):
    trained = sum(int(tf.size(v)) for v in network.trainable_variables)
    kernels = 27 * (3 * 16 + 16 * 32 + 32 * 64 + 64 * 64)
    assert trained == kernels + 2 * (16 + 32 + 64 + 64) + 64 * CLASSES + CLASSES


def test_weights_are_restored_from_a_file(network, tmp_path):
    values = {n: v.numpy() for n, v in variables.by_path(network).items()}
    path = str(tmp_path / "small.weights.h5")
    written = weights.save("small_classifier", values, path, "random")
    restored, metadata = weights.load(path)
    assert metadata == written and metadata.num_classes == CLASSES
    videos = np.ones([1, 4, 8, 8, 3], np.float32)
    np.testing.assert_array_equal(restored(videos)["logits"], network(videos)["logits"])
