"""PSNR and SSIM against NumPy, LPIPS against PyTorch, and best-of-several scores."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from tf_dvdgan import errors
from tf_dvdgan.evaluation.features.networks import lpips
from tf_dvdgan.evaluation.metrics import prediction


def video(seed: int, *shape: int) -> np.ndarray:
    """Blocks and noise, so that SSIM is neither 0 nor 1."""
    rng = np.random.default_rng(seed)
    *batch, height, width, channels = shape
    blocks = rng.integers(0, 256, [*batch, height // 4, width // 4, channels])
    blocks = blocks.repeat(4, -3).repeat(4, -2)
    noise = rng.integers(-30, 30, blocks.shape)
    return np.clip(blocks + noise, 0, 255).astype(np.uint8)


def near(seed: int, real: np.ndarray, strength: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(-strength, strength + 1, real.shape)
    return np.clip(real.astype(int) + noise, 0, 255).astype(np.uint8)


def plain_psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = ((a.astype(np.float64) - b.astype(np.float64)) ** 2).mean()
    return 10 * np.log10(255.0**2 / error)


def plain_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """The definition for one frame, one window at a time, in float64."""
    offsets = np.arange(11) - 5
    gauss = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(gauss, gauss)
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            for c in range(a.shape[2]):
                p, q = (
                    frame[y : y + 11, x : x + 11, c].astype(np.float64)
                    for frame in (a, b)
                )
                mean_p, mean_q = (window * p).sum(), (window * q).sum()
                var_p = (window * (p - mean_p) ** 2).sum()
                var_q = (window * (q - mean_q) ** 2).sum()
                cov = (window * (p - mean_p) * (q - mean_q)).sum()
                value = (2 * mean_p * mean_q + c1) * (2 * cov + c2)
                value /= (mean_p**2 + mean_q**2 + c1) * (var_p + var_q + c2)
                values.append(value)
    return float(np.mean(values))


def by_frame(metric, real: np.ndarray, samples: np.ndarray) -> np.ndarray:
    return np.array(
        [
            [metric(a, b) for a, b in zip(real, sample, strict=True)]
            for sample in samples
        ]
    )


@pytest.fixture
def clip():
    real = video(0, 4, 16, 20, 3)
    return real, np.stack([near(n, real, 10 + 20 * n) for n in range(3)])


@pytest.mark.parametrize("as_floats", [False, True])
@pytest.mark.parametrize(
    ("found", "plain", "tolerance"),
    [(prediction.psnr, plain_psnr, 1e-10), (prediction.ssim, plain_ssim, 1e-4)],
)
def test_matches_the_definition(clip, found, plain, tolerance, as_floats, monkeypatch):
    monkeypatch.setattr(prediction, "_BATCH_SIZE", 5)
    real, samples = clip
    expected = by_frame(plain, real, samples)
    scale = 255.0 if as_floats else np.uint8(1)
    given = (real / scale, samples / scale) if as_floats else clip
    values = found(*given)
    assert values.shape == (3, 4)
    np.testing.assert_allclose(values, expected, rtol=tolerance)
    assert expected.std() > 0.05


def test_identical_frames_score_perfectly(clip):
    real, _ = clip
    assert np.isinf(prediction.psnr(real, real)).all()
    np.testing.assert_allclose(prediction.ssim(real, real), 1.0, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.full([1, 16, 16, 3], -0.5), r"\[0, 1\]"),
        (np.full([1, 16, 16, 3], 1.5), r"\[0, 1\]"),
        (np.full([1, 16, 16, 3], np.nan), r"\[0, 1\]"),
        (np.zeros([1, 16, 16, 3], np.int32), "int32"),
    ],
)
def test_other_ranges_and_types_are_rejected(wrong, message):
    for metric in (prediction.psnr, prediction.ssim):
        with pytest.raises(ValueError, match=message):
            metric(wrong, wrong)


def test_ssim_rejects_small_frames():
    small = np.zeros([1, 10, 16, 3], np.uint8)
    with pytest.raises(ValueError, match="11x11 pixels"):
        prediction.ssim(small, small)


# For each backbone, layers of torchvision's `features`: convolutions as (number, in,
# out, kernel, stride, padding); poolings as {number: window}; numbers of tapped layers.
ALEXNET = (
    [
        *[(0, 3, 64, 11, 4, 2), (3, 64, 192, 5, 1, 2), (6, 192, 384, 3, 1, 1)],
        *[(8, 384, 256, 3, 1, 1), (10, 256, 256, 3, 1, 1)],
    ],
    {2: 3, 5: 3},
    [1, 4, 7, 9, 11],
)
VGG16 = (
    [
        *[(0, 3, 64, 3, 1, 1), (2, 64, 64, 3, 1, 1), (5, 64, 128, 3, 1, 1)],
        *[(7, 128, 128, 3, 1, 1), (10, 128, 256, 3, 1, 1), (12, 256, 256, 3, 1, 1)],
        *[(14, 256, 256, 3, 1, 1), (17, 256, 512, 3, 1, 1), (19, 512, 512, 3, 1, 1)],
        *[(21, 512, 512, 3, 1, 1), (24, 512, 512, 3, 1, 1), (26, 512, 512, 3, 1, 1)],
        *[(28, 512, 512, 3, 1, 1)],
    ],
    {4: 2, 9: 2, 16: 2, 23: 2},
    [3, 8, 15, 22, 29],
)


def write_weights(folder, backbone) -> tuple[str, str]:
    """Files in the published format; random weights that keep activations alive."""
    convolutions, _, taps = backbone
    generator = torch.Generator().manual_seed(0)
    features, linear = {"classifier.6.bias": torch.zeros(1000)}, {}
    for number, before, after, kernel, _, _ in convolutions:
        deviation = (2 / (before * kernel**2)) ** 0.5
        values = torch.randn([after, before, kernel, kernel], generator=generator)
        features[f"features.{number}.weight"] = values * deviation
        bias = torch.randn([after], generator=generator) * 0.1
        features[f"features.{number}.bias"] = bias
    out_of = {number + 1: after for number, _, after, *_ in convolutions}
    for i, tap in enumerate(taps):
        values = torch.rand([1, out_of[tap], 1, 1], generator=generator)
        linear[f"lin{i}.model.1.weight"] = values
    paths = str(folder / "backbone.pth"), str(folder / "linear.pth")
    torch.save(features, paths[0])
    torch.save(linear, paths[1])
    return paths


def plain_lpips(paths, backbone, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The authors' forward pass on uint8 `[batch, height, width, 3]`."""
    features, linear = (torch.load(path, weights_only=True) for path in paths)
    convolutions, pools, taps = backbone
    convolutions = {layer[0]: layer for layer in convolutions}

    def tapped(images):
        x = torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        shift, scale = [-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]
        x = (x - torch.tensor(shift)[:, None, None]) / torch.tensor(scale)[
            :, None, None
        ]
        found = []
        for number in range(taps[-1] + 1):
            if number in convolutions:
                *_, stride, padding = convolutions[number]
                weight = features[f"features.{number}.weight"]
                bias = features[f"features.{number}.bias"]
                x = functional.conv2d(x, weight, bias, stride, padding)
            elif number in pools:
                x = functional.max_pool2d(x, pools[number], 2)
            else:
                x = functional.relu(x)
            if number in taps:
                found.append(x)
        return found

    total = 0
    for i, (x, y) in enumerate(zip(tapped(a), tapped(b), strict=True)):
        x, y = (v / (v.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) for v in (x, y))
        weighted = functional.conv2d((x - y) ** 2, linear[f"lin{i}.model.1.weight"])
        total = total + weighted.mean([2, 3])[:, 0]
    return total.numpy()


@pytest.mark.parametrize(
    ("name", "backbone", "size"),
    [("alexnet", ALEXNET, (64, 72)), ("vgg16", VGG16, (32, 40))],
)
def test_lpips_matches_pytorch(tmp_path, name, backbone, size):
    paths = write_weights(tmp_path, backbone)
    network = lpips.load(*paths)
    assert network.backbone == name
    real = video(0, 3, *size, 3)
    predicted = np.stack([near(n, real, 40) for n in range(2)])
    found = prediction.lpips(network, real, predicted)
    expected = [plain_lpips(paths, backbone, real, sample) for sample in predicted]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.min(expected) > 1e-3
    np.testing.assert_array_equal(prediction.lpips(network, real, real), 0.0)


def test_files_with_other_weights_are_rejected(tmp_path):
    backbone, linear = write_weights(tmp_path, ALEXNET)
    with pytest.raises(errors.UserError, match="neither torchvision's AlexNet"):
        lpips.load(linear, linear)
    with pytest.raises(
        errors.UserError, match=r"lin0.model.1.weight has the shape \[\]"
    ):
        lpips.load(backbone, backbone)
    with pytest.raises(errors.UserError, match="no weights at"):
        lpips.load(str(tmp_path / "nowhere.pth"), linear)


def brightness(a, b):
    """A distance of frames that replaces LPIPS."""
    import tensorflow as tf

    return tf.reduce_mean(tf.abs(a - b), axis=[1, 2, 3])


def test_each_metric_chooses_its_best_sample_without_conditioning_frames():
    scores = prediction.PredictionScores(1, brightness)
    expected = {name: {"best": [], "mean": []} for name in ("psnr", "ssim", "lpips")}
    for seed in range(3):
        real = video(seed, 4, 16, 16, 3)
        # One has small errors everywhere, another large errors in a few pixels.
        samples = np.stack([near(seed, real, 40)] * 3)
        samples[1] = real
        samples[1, :, :3, :3] = 255 - real[:, :3, :3]
        samples[2, 0] = real[0]  # would win if the given frame counted
        samples[2, 1:] = near(seed + 9, real, 60)[1:]
        scores.add(real, samples)
        curves = {
            "psnr": by_frame(plain_psnr, real[1:], samples[:, 1:]),
            "ssim": by_frame(plain_ssim, real[1:], samples[:, 1:]),
            "lpips": np.abs(real[1:] / 127.5 - samples[:, 1:] / 127.5).mean((2, 3, 4)),
        }
        for name, curve in curves.items():
            sign = 1 if name == "lpips" else -1
            best = min(range(3), key=lambda n: sign * curve[n].mean())
            expected[name]["best"].append(curve[best])
            expected[name]["mean"].append(curve.mean(0))
    found = scores.result()
    assert set(found) == set(expected)
    for name, kinds in expected.items():
        for kind, curves in kinds.items():
            curve = np.mean(curves, axis=0)
            np.testing.assert_allclose(
                found[name][f"{kind}_by_frame"], curve, rtol=1e-4
            )
            np.testing.assert_allclose(found[name][kind], curve.mean(), rtol=1e-4)
    assert found["psnr"]["best"] > found["psnr"]["mean"]
    assert found["lpips"]["best"] < found["lpips"]["mean"]


def test_a_clip_that_stands_still_leaves_the_mean_finite():
    """Its last frame repeated is the future; the error is that of rounding."""
    scores = prediction.PredictionScores(1)
    moving = video(0, 3, 16, 16, 3)
    still = np.repeat(moving[:1], 3, axis=0)
    for real in (moving, still):
        scores.add(real, real[np.newaxis])
    found = scores.result()["psnr"]
    highest = 10 * np.log10(255**2 / (1 / 12))
    assert found["best"] == pytest.approx(highest)
    copies = np.mean([plain_psnr(moving[i], moving[0]) for i in (1, 2)])
    assert found["copy"] == pytest.approx((copies + highest) / 2, rel=1e-6)


def test_lpips_is_skipped_without_its_network():
    real = video(0, 3, 16, 16, 3)
    scores = prediction.PredictionScores(2)
    scores.add(real, near(0, real, 9)[None])
    assert set(scores.result()) == {"psnr", "ssim"}
    assert len(scores.result()["ssim"]["best_by_frame"]) == 1


def test_clips_that_cannot_be_scored_are_rejected():
    real = video(0, 3, 16, 16, 3)
    scores = prediction.PredictionScores(1)
    with pytest.raises(ValueError, match="add clips first"):
        scores.result()
    with pytest.raises(ValueError, match="num_samples"):
        scores.add(real, real)
    scores.add(real, real[None])
    with pytest.raises(ValueError, match="must have 1 samples"):
        scores.add(real, np.stack([real, real]))
    with pytest.raises(ValueError, match="longer than the 3 conditioning frames"):
        prediction.PredictionScores(3).add(real, real[None])
