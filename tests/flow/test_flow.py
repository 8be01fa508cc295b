"""Correlation and warp against reference forms; PWC-Net's files."""

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.flow import pwc_net, warp


def random(*shape, seed=0):
    return tf.random.stateless_normal(shape, [seed, 1])


def test_correlation_equals_numpy():
    a, b = random(1, 5, 6, 3).numpy(), random(1, 5, 6, 3, seed=1).numpy()
    found = warp.correlation(a, b, 2).numpy()
    padded = np.pad(b, [(0, 0), (2, 2), (2, 2), (0, 0)])
    for i in range(5):
        for j in range(5):
            expected = (a * padded[:, i : i + 5, j : j + 6]).mean(-1)
            np.testing.assert_allclose(found[..., 5 * i + j], expected, atol=1e-5)


@pytest.mark.parametrize(("u", "v"), [(0, 0), (2, 0), (0, -1), (-3, 2)])
def test_a_warp_by_whole_pixels_is_a_shift(u, v):
    image = random(1, 7, 8, 2).numpy()
    flow = tf.tile(tf.constant([[[[u, v]]]], tf.float32), [1, 7, 8, 1])
    found = warp.warp(tf.constant(image), flow).numpy()
    expected = np.zeros_like(image)
    for y in range(7):
        for x in range(8):
            if 0 <= y + v < 7 and 0 <= x + u < 8:
                expected[0, y, x] = image[0, y + v, x + u]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_warp_by_half_a_pixel_is_the_mean_and_passes_gradients():
    image = random(1, 4, 6, 1)
    flow = tf.Variable(tf.fill([1, 4, 6, 2], 0.5) * [1.0, 0.0])
    with tf.GradientTape() as tape:
        y = warp.warp(image, flow)
    mean = (image[:, :, :-1] + image[:, :, 1:]) / 2
    np.testing.assert_allclose(y[:, :, :-1], mean, atol=1e-5)
    assert np.abs(tape.gradient(y, flow)).max() > 0


@pytest.fixture(scope="module")
def released_file(tmp_path_factory):
    """A file in the released naming with random values, and its tensors."""
    torch = pytest.importorskip("torch")
    network = pwc_net.PWCNet()
    network.build_all()
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, layer in network.parts.items():
        kernel, bias = (tuple(w.shape) for w in layer.get_weights())
        shape = (kernel[3], kernel[2], kernel[0], kernel[1])
        bare = name.startswith(("predict", "deconv", "upfeat")) or name == "dc_conv7"
        key = name if bare else f"{name}.0"
        scale = (2.0 / np.prod(shape[1:])) ** 0.5
        state[f"{key}.weight"] = scale * torch.randn(shape, generator=generator)
        state[f"{key}.bias"] = 0.01 * torch.randn(bias, generator=generator)
    state["deconv2.weight"] = torch.zeros(2, 2, 4, 4)  # in the file, used by nothing
    state["deconv2.bias"] = torch.zeros(2)
    path = str(tmp_path_factory.mktemp("weights") / "pwc_net.pth.tar")
    torch.save(state, path)
    return path, state


def torch_forward(state, first, second):
    """PWC-Net in PyTorch functions, from the paper and the released file's names."""
    import torch
    from torch.nn import functional

    def conv(name, x, stride=1, dilation=1, activate=True):
        key = f"{name}.0" if f"{name}.0.weight" in state else name
        weight, bias = state[f"{key}.weight"], state[f"{key}.bias"]
        y = functional.conv2d(x, weight, bias, stride, dilation, dilation)
        return functional.leaky_relu(y, 0.1) if activate else y

    def up(name, x):
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return functional.conv_transpose2d(x, weight, bias, 2, 1)

    def warped(x, flow):
        _, _, height, width = x.shape
        ys, xs = torch.meshgrid(
            torch.arange(height), torch.arange(width), indexing="ij"
        )
        grid = torch.stack([xs, ys])[None] + flow
        grid = torch.stack(
            [2 * grid[:, 0] / (width - 1) - 1, 2 * grid[:, 1] / (height - 1) - 1], -1
        )
        sample = functional.grid_sample(x, grid, align_corners=True)
        mask = functional.grid_sample(torch.ones_like(x), grid, align_corners=True)
        return sample * (mask >= 0.9999)

    def correlate(a, b):
        padded = functional.pad(b, (4, 4, 4, 4))
        height, width = a.shape[2:]
        maps = [
            (a * padded[:, :, i : i + height, j : j + width]).mean(1)
            for i in range(9)
            for j in range(9)
        ]
        return functional.leaky_relu(torch.stack(maps, 1), 0.1)

    def pyramid(x):
        features = []
        for level in range(1, 7):
            names = ("aa", "a", "b") if level == 6 else ("a", "aa", "b")
            for i, name in enumerate(names):
                x = conv(f"conv{level}{name}", x, stride=1 if i else 2)
            features.append(x)
        return features

    a, b = pyramid(first), pyramid(second)
    x, flow_up, features_up = correlate(a[5], b[5]), None, None
    scales = {5: 0.625, 4: 1.25, 3: 2.5, 2: 5.0}
    for level in range(6, 1, -1):
        if level < 6:
            moved = warped(b[level - 1], flow_up * scales[level])
            parts = [correlate(a[level - 1], moved), a[level - 1], flow_up, features_up]
            x = torch.cat(parts, 1)
        for i in range(5):
            x = torch.cat([conv(f"conv{level}_{i}", x), x], 1)
        flow = conv(f"predict_flow{level}", x, activate=False)
        if level > 2:
            flow_up, features_up = up(f"deconv{level}", flow), up(f"upfeat{level}", x)
    for i, dilation in enumerate((1, 2, 4, 8, 16, 1), start=1):
        x = conv(f"dc_conv{i}", x, dilation=dilation)
    return flow + conv("dc_conv7", x, activate=False)


def test_the_network_equals_a_pytorch_forward_of_the_same_file(released_file):
    import torch

    path, state = released_file
    first, second = (np.random.default_rng(i).random([2, 64, 128, 3]) for i in (0, 1))
    network = pwc_net.load(path)
    found = network(first.astype(np.float32), second.astype(np.float32))
    tensors = [
        torch.tensor(x.transpose(0, 3, 1, 2), dtype=torch.float32)
        for x in (first, second)
    ]
    expected = torch_forward(state, *tensors).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    assert not network.trainable_variables


def test_our_conversion_gives_the_same(released_file, tmp_path):
    network = pwc_net.load(released_file[0])
    path = str(tmp_path / "pwc_net.h5")
    network.save_weights(path)
    image = tf.random.stateless_uniform([1, 96, 96, 3], [0, 1])
    other = tf.random.stateless_uniform([1, 96, 96, 3], [0, 2])
    flow = network.flow(image, other)
    assert flow.shape == [1, 96, 96, 2]
    np.testing.assert_array_equal(pwc_net.load(path).flow(image, other), flow)


def test_the_gradient_passes_to_the_images(released_file):
    network = pwc_net.load(released_file[0])
    image = tf.random.stateless_uniform([1, 64, 64, 3], [0, 1])
    with tf.GradientTape() as tape:
        tape.watch(image)
        flow = network.flow(image, image[:, ::-1])
    assert np.abs(tape.gradient(flow, image)).max() > 0


def test_a_file_that_is_not_pwc_net_s_is_reported(tmp_path):
    torch = pytest.importorskip("torch")
    path = str(tmp_path / "x.pth")
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(errors.UserError, match="does not hold PWC-Net's weights"):
        pwc_net.load(path)
