"""Scores of what was seen: against definitions, and where the answer is known."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

from tf_dvdgan import errors
from tf_dvdgan.evaluation.features import extraction, sources
from tf_dvdgan.evaluation.features import networks as networks_lib
from tf_dvdgan.evaluation.features.networks import weights as weights_lib
from tf_dvdgan.evaluation.metrics import inception_score
from tf_dvdgan.evaluation.runs import feature_metric, protocols, scoring
from tf_dvdgan.models import variables


def metric_of(metric, **changes) -> feature_metric.FeatureMetric:
    protocol = protocols.Protocol(
        "score", metric, "pixels", "unit_range", "", **changes
    )
    return feature_metric.FeatureMetric(protocol)


def score_of(metric, real, generated, held_out=None, **options) -> scoring.Score:
    return metric.score(scoring.Sides(real, generated, held_out), **options)


@pytest.fixture
def seen(tmp_path):
    """Makes features of arrays, in parts."""

    def make(**rows) -> extraction.Features:
        made = extraction.Features(str(tmp_path / str(len([*tmp_path.iterdir()]))))
        count = len(next(iter(rows.values())))
        rows.setdefault("label", np.full(count, -1))
        for i in range(0, count, 70):
            part = {name: x[i : i + 70] for name, x in rows.items()}
            made.add(part, min(i + 70, count))
        return made

    return make


def points(seed, count, size=8, shift=0.0):
    return np.random.default_rng(seed).normal(size=[count, size]) + shift


def plain_distance(a, b):
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    apart = a.mean(0) - b.mean(0)
    return apart @ apart + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)


def distance_of_roots(a, b):
    """tr (C_a C_b)^(1/2) is the sum of singular values of A B^T, C_a = A^T A."""
    roots = [(x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b)]
    both = scipy.linalg.svdvals(roots[0] @ roots[1].T).sum()
    apart = a.mean(0) - b.mean(0)
    return apart @ apart + sum((root**2).sum() for root in roots) - 2 * both


def test_frechet_distance_is_that_of_scipy_in_the_output_named(seen):
    a, b = points(0, 300), 0.5 * points(1, 200) + 1.0
    found = score_of(
        metric_of(protocols.FRECHET, output="logits"),
        seen(logits=a, features=b[: len(a)]),
        [seen(logits=b, features=b)],
    )
    np.testing.assert_allclose(found.value, plain_distance(a, b), rtol=1e-8)
    assert found.sd is None and found.error is None


def test_fewer_clips_than_features_of_very_different_sizes(seen):
    """2,048 of them, from 500 and 400 clips: the covariances have no full rank."""
    scale = np.geomspace(1e-4, 10.0, 2048)
    mixing = np.random.default_rng(5).normal(size=[300, 2048])
    a, b = points(0, 500, 300) @ mixing * scale, points(1, 400, 300) @ mixing * scale
    found = score_of(
        metric_of(protocols.FRECHET), seen(features=a), [seen(features=b + 0.1)]
    )
    np.testing.assert_allclose(found.value, distance_of_roots(a, b + 0.1), rtol=1e-6)


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_one_clip_has_no_distance(seen):
    a, b = seen(features=points(0, 9)), seen(features=points(1, 1))
    for sides in ((a, [b]), (b, [a]), (a, [a], b)):
        with pytest.raises(errors.UserError, match="at least two"):
            score_of(metric_of(protocols.FRECHET), *sides)


def test_parts_of_an_inception_score_need_a_clip_each(seen):
    few = seen(logits=points(0, 4))
    with pytest.raises(errors.UserError, match="5 splits, for which 4 generated clips"):
        score_of(metric_of(protocols.INCEPTION, num_splits=5), None, [few])


@pytest.mark.parametrize("num_splits", [1, 5])
def test_inception_score_is_of_all_clips(seen, monkeypatch, num_splits):
    monkeypatch.setattr(extraction.Features.get, "__defaults__", (20,))
    logits = 3 * points(0, 203, 9)
    found = score_of(
        metric_of(protocols.INCEPTION, num_splits=num_splits),
        None,
        [seen(logits=logits)],
    )
    value, sd = inception_score.inception_score(softmax(logits), num_splits)
    np.testing.assert_allclose(found.value, value, rtol=1e-12)
    assert found.sd == (pytest.approx(sd) if num_splits > 1 else None)


def test_accuracy_is_of_all_clips_and_has_that_of_real_ones_beside_it(
    seen, monkeypatch
):
    monkeypatch.setattr(extraction.Features.get, "__defaults__", (20,))
    labels = np.arange(200) % 4
    said = np.where(np.arange(200) < 150, labels, (labels + 1) % 4)
    made = seen(logits=np.eye(4)[said], label=labels)
    real = seen(logits=np.eye(4)[labels], label=labels)
    accuracy = metric_of(protocols.ACCURACY)
    found = score_of(accuracy, real, [made], num_resamples=200)
    assert found.value == 0.75 and found.others == {"real": 1.0}
    np.testing.assert_allclose(found.error, (0.75 * 0.25 / 200) ** 0.5, rtol=0.2)
    without_classes = seen(logits=np.eye(4)[labels])
    assert score_of(accuracy, without_classes, [made]).others == {}
    with pytest.raises(errors.UserError, match="with classes"):
        score_of(accuracy, real, [without_classes])


def test_classes_that_are_combinations_have_the_accuracy_of_each_word(seen):
    """Of the motion, and of the shape that moves."""
    names = ["RoundCircle", "RoundSquare", "VerticalCircle", "VerticalSquare"]
    label = np.arange(100) % 4
    said = np.where(np.arange(100) < 60, label, label ^ 1)  # another shape
    said = np.where(np.arange(100) >= 90, label ^ 2, said)  # another motion
    accuracy = metric_of(protocols.ACCURACY)
    accuracy.class_names = names
    found = score_of(accuracy, None, [seen(logits=np.eye(4)[said], label=label)])
    assert found.value == 0.6
    assert found.others == {"word_1": 0.9, "word_2": 0.7}


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["Round", "Vertical"],
        ["RoundCircle", "RoundSquare", "VerticalCircle"],  # one is missing
        ["RoundCircle", "RoundSquare"],  # one motion
        ["RoundCircle", "VerticalRedSquare"],
        ["Round circle", "Vertical circle"],
    ],
)
def test_other_names_are_no_combinations(names):
    assert scoring._combined_words(names) == []


def test_repeats_give_mean_and_standard_deviation(seen):
    real, made = points(0, 200), [points(seed, 150, shift=0.3) for seed in (1, 2, 3)]
    frechet = metric_of(protocols.FRECHET)
    found = score_of(
        frechet, seen(features=real), [seen(features=x) for x in made], num_resamples=50
    )
    expected = [plain_distance(real, x) for x in made]
    np.testing.assert_allclose(found.value, np.mean(expected), rtol=1e-8)
    np.testing.assert_allclose(found.sd, np.std(expected, ddof=1), rtol=1e-6)
    one = score_of(
        frechet, seen(features=real), [seen(features=made[0])], num_resamples=50
    )
    np.testing.assert_allclose(found.error, one.error / 3**0.5)  # of a mean of three


def test_repeats_that_agree_have_no_spread(seen):
    logits = points(0, 100, 5)
    found = score_of(
        metric_of(protocols.INCEPTION, num_splits=2),
        None,
        [seen(logits=logits), seen(logits=logits)],
    )
    assert found.sd == 0.0


def test_the_bootstrap_of_a_frechet_distance_is_the_spread_of_fresh_samples(seen):
    real = seen(features=points(0, 500))
    frechet = metric_of(protocols.FRECHET)

    def score(seed, num_resamples=0):
        made = seen(features=points(seed, 300, shift=0.2))
        return score_of(frechet, real, [made], num_resamples=num_resamples)

    fresh = [score(seed).value for seed in range(1, 26)]
    assert 0.6 < score(31, 100).error / np.std(fresh, ddof=1) < 1.6


def test_replay_is_flagged_as_memorized_and_not_by_the_frechet_distance(seen):
    training, held_out = points(0, 600), points(1, 500)
    replayed = training[:500] + 1e-3 * points(2, 500)
    honest = points(3, 500)
    frechet, shown = metric_of(protocols.FRECHET), {}
    for name, made in (("replayed", replayed), ("honest", honest)):
        shown[name] = score_of(
            frechet,
            seen(features=training),
            [seen(features=made)],
            seen(features=held_out),
        )
    real_from_real = plain_distance(training, held_out)
    assert shown["replayed"].others["memorization"] > 0.99
    assert 0.01 < shown["honest"].others["memorization"] < 0.12
    assert shown["replayed"].value < real_from_real
    assert shown["honest"].value < 3 * real_from_real
    for score in shown.values():
        others = score.others
        np.testing.assert_allclose(others["real_from_real"], real_from_real, rtol=1e-8)
        assert others["precision"] > 0.8 and others["recall"] > 0.8


@pytest.mark.parametrize("count", [200, 400])
def test_the_distance_of_real_clips_has_as_many_clips_as_a_generated_one(seen, count):
    training, held_out, made = points(0, 600), points(1, 300), points(2, count)
    others = score_of(
        metric_of(protocols.FRECHET),
        seen(features=training),
        [seen(features=made)],
        seen(features=held_out),
    ).others
    fewer = min(count, 300)
    expected = {"real_from_real": plain_distance(training, held_out[:fewer])}
    if count > 300:
        expected["as_many_as_real"] = plain_distance(training, made[:300])
    found = {name: others[name] for name in others if name.endswith("_real")}
    assert found == pytest.approx(expected, rel=1e-8)


def test_too_few_clips_have_no_neighbors(seen):
    found = score_of(
        metric_of(protocols.FRECHET),
        seen(features=points(0, 3)),
        [seen(features=points(1, 9))],
    )
    assert set(found.others) == {"kernel_distance"}
    found = score_of(
        metric_of(protocols.FRECHET),
        seen(features=points(0, 5)),
        [seen(features=points(1, 9))],
    )
    assert set(found.others) == {"kernel_distance", "precision", "recall"}


def test_a_score_is_shown_with_what_is_known_of_it():
    assert str(scoring.Score(12.3456)) == "12.35"
    shown = str(scoring.Score(12.3456, 0.123, 0.5))
    assert shown == "12.35 ± 0.12 (95 %: 11.37 to 13.33)"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A file of weights of the small classifier, of 3 classes."""
    network = networks_lib.SmallClassifier(3)
    network(tf.zeros([1, *network.INPUT]))
    arrays = {n: v.numpy() for n, v in variables.by_path(network).items()}
    path = str(tmp_path_factory.mktemp("weights") / "small.weights.h5")
    weights_lib.save("small_classifier", arrays, path, "a test")
    return path


class Clips(sources.Source):
    num_clips = 5

    def rows(self, first, worker, num_workers):
        for i in range(first + worker, 5, num_workers):
            video = np.random.default_rng(i).integers(0, 256, [8, 32, 32, 3], np.uint8)
            yield {"video": video, "label": np.int32(i % 3)}

    def videos(self, rows):
        return rows["video"]

    def fingerprint(self):
        return {}


def test_clips_are_shown_to_the_network_of_the_weights(small, tmp_path):
    protocol = protocols.get("fid_small")
    metric = feature_metric.FeatureMetric(
        protocol, [small], 3, None, None, str(tmp_path), 2
    )
    found = metric.extract_features(Clips())
    network, metadata = weights_lib.load(small)
    clips = np.stack([row["video"] for row in Clips().rows(0, 0, 1)])
    expected = network(clips / np.float32(127.5) - 1)
    for name, value in expected.items():
        np.testing.assert_allclose(found.get(name), value, atol=1e-5)
    shown = feature_metric.FeatureMetric(
        protocol, [small], None
    ).metadata  # of whatever classes
    assert shown["weights"]["hash"] == metadata.hash
    assert json.loads(json.dumps(shown)) == shown


def test_workers_without_the_features_of_all_clips_have_no_value(monkeypatch):
    metric = metric_of(protocols.FRECHET)
    monkeypatch.setattr(feature_metric.strategy_lib, "is_chief", lambda _: False)
    assert np.isnan(score_of(metric, None, []).value)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_pixels_need_no_weights_and_stay_float32(precision):
    tf.keras.mixed_precision.set_global_policy(precision)
    pixels = feature_metric.FeatureMetric(protocols.get("fid_pixels"))
    found = pixels.extract_features(Clips())
    clips = np.stack([row["video"] for row in Clips().rows(0, 0, 1)]) / 127.5 - 1
    means = clips[:, [0, 2, 5, 7]].reshape(5, 4, 4, 8, 4, 8, 3).mean((3, 5))
    np.testing.assert_allclose(found.get("features"), means.reshape(5, 192), atol=1e-5)


def mistakes(small, tmp_path):
    mean = tmp_path / "mean.npz"
    np.savez(mean, mean=np.zeros([3, 4]))
    return [
        ("fid_small", {}, "needs weights of small_classifier of 3 classes"),
        ("fid_small", {"num_classes": 4, "weights": [small]}, "of 3 classes"),
        ("fid_dvdgan", {"weights": [small]}, "i3d of 600 classes.*convert_weights"),
        ("fid_small", {"weights": ["/nowhere"]}, "There is no weights file"),
        ("fid_small", {"weights": [str(mean)]}, "not written by tools.convert_weights"),
    ]


@pytest.mark.parametrize("number", range(5))
def test_each_mistake_is_reported(small, tmp_path, number):
    name, arguments, message = mistakes(small, tmp_path)[number]
    with pytest.raises(errors.UserError, match=message) as error:
        feature_metric.FeatureMetric(
            protocols.get(name), **{"num_classes": 3, **arguments}
        )
    assert "\n" not in str(error.value)


@pytest.fixture
def c3d_weights(monkeypatch):
    """Instead of a network with 80 million of them."""
    found = networks_lib.SmallClassifier(2), {"hash": "0"}
    monkeypatch.setattr(feature_metric, "_find", lambda *_: (found[0], dict(found[1])))


def test_a_mean_that_is_missing_or_wrong_is_reported(c3d_weights, tmp_path):
    wrong = str(tmp_path / "mean.npz")
    np.savez(wrong, mean=np.zeros([3, 4]))
    for mean, message in (
        (None, "with `mean`"),
        ("/no", "cannot be read"),
        (wrong, "3, 4"),
    ):
        with pytest.raises(errors.UserError, match=message) as error:
            feature_metric.FeatureMetric(protocols.get("is_c3d_tgan"), mean=mean)
        assert "\n" not in str(error.value)


def test_another_mean_is_another_protocol(c3d_weights, tmp_path):
    shown = []
    for value in (0.0, 1.0):
        path = str(tmp_path / "mean2.npz")  # the same name
        np.savez(path, mean=np.full([3, 16, 128, 171], value, np.float32))
        found = feature_metric.FeatureMetric(
            protocols.get("is_c3d_tgan"), mean=path
        ).metadata
        shown.append(found["weights"])
    assert shown[0] != shown[1] and shown[0]["mean"] == "mean2.npz"


def test_features_are_kept_apart_by_weights_and_preprocessing(small, tmp_path):
    protocol = protocols.get("fid_small")
    other = str(tmp_path / "other.weights.h5")
    network, _ = weights_lib.load(small)
    arrays = {n: v.numpy() + 1 for n, v in variables.by_path(network).items()}
    weights_lib.save("small_classifier", arrays, other, "a test")
    kept = tmp_path / "kept"
    for count, (path, changes) in enumerate(
        [
            (small, {}),
            (other, {}),
            (small, {"preprocessing": "resnet3d"}),
        ],
        1,
    ):
        judged = dataclasses.replace(protocol, **changes)
        for _ in range(2):
            made = feature_metric.FeatureMetric(judged, [path], 3, cache_dir=str(kept))
            made.extract_features(Clips())
            assert len([*kept.iterdir()]) == count
