"""Scores of folders and of models, whole: what is compared with what."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

import tf_dvdgan as dvd
from tf_dvdgan import config, demo_videos, errors
from tf_dvdgan.data import clips, manifest, windows
from tf_dvdgan.evaluation.features import sources
from tf_dvdgan.evaluation.runs import (
    comparability,
    comparison,
    feature_metric,
    model_scores,
    printing,
    protocols,
    s3,
    scoring,
)
from tf_dvdgan.models import video_gan
from tf_dvdgan.sampling import latents
from tf_dvdgan.sampling import sampler as sampler_lib

pytestmark = pytest.mark.usefixtures("quick_graphs")

PIXELS = dataclasses.replace(
    protocols.get("fid_pixels"), num_real=None, num_generated=24
)
WINDOW = windows.Window(4, 16, 2)
CLASS_NAMES = demo_videos.class_names("shapes")


@pytest.fixture
def gan(tiny_config, demo_shards) -> video_gan.Networks:
    gan = video_gan.from_config(manifest.load(demo_shards).class_names)
    gan.build()
    return gan


def scores_of(gan, frames=4, stride=2):
    window = windows.Window(frames, 16, stride)
    return model_scores.ModelScores(sampler_lib.Sampler(gan), window, CLASS_NAMES)


def splits(shards):
    return clips.open_clips(shards, "train"), clips.open_clips(shards, "test")


def test_a_folder_is_not_far_from_itself_and_an_inverted_one_is(demo_shards, tmp_path):
    real = clips.open_clips(demo_shards, "test")
    videos = np.stack([example.video for example in real.examples(WINDOW)])
    np.save(tmp_path / "same.npy", videos)
    np.save(tmp_path / "inverted.npy", 255 - videos)
    metric = feature_metric.FeatureMetric(
        dataclasses.replace(PIXELS, num_generated=100)
    )
    results = [
        comparison.compare_folders(
            metric, real, clips.open_clips(str(tmp_path / name)), None, WINDOW, 0
        )
        for name in ("same.npy", "inverted.npy")
    ]
    same, inverted = (result.score.value for result in results)
    assert same == pytest.approx(0.0, abs=1e-5)  # of a trace of some 50
    assert inverted > 10.0
    metadata = json.loads(json.dumps(results[0].metadata))
    assert metadata["metric"] == "frechet_distance"
    assert metadata["generated"]["num_clips"] == metadata["real"]["num_clips"] == 36
    assert metadata["num_frames"] == 4
    assert any("too few for the covariance" in text for text in results[0].warnings)
    assert any("jpeg" in text for text in results[0].warnings)


@pytest.mark.parametrize(("pixels", "warns"), [(16, False), (8, True), (32, True)])
def test_shards_of_another_resolution_than_the_model_are_noticed(
    pixels, warns, demo_shards
):
    selection = sources.ClipSelection(
        clips.open_clips(demo_shards), windows.Window(4, pixels)
    )
    found = comparability.warnings_of_model(selection, 100, 0)
    said = f"is 16 pixels, the model's videos have {pixels}"
    assert [said in text for text in found] == [True] * warns


def test_frames_of_another_shape_are_noticed_unless_squares_are_cut(
    demo_shards, tmp_path
):
    np.save(tmp_path / "a.npy", np.zeros([4, 8, 24, 16, 3], np.uint8))
    for resolution, warns in ((None, True), (16, False)):
        window = windows.Window(4, resolution)
        real, generated = (
            sources.ClipSelection(clips.open_clips(path), window)
            for path in (demo_shards, str(tmp_path / "a.npy"))
        )
        found = comparability.warnings(real, generated, 0)
        said = "frames are 16x16 pixels, the generated ones 16x24"
        assert any(said in text for text in found) == warns


@pytest.mark.parametrize("split", ["train", "test"])
def test_held_out_clips_are_for_training_clips_only(split, demo_shards):
    """Else 'memorization' would be of the clips that it is measured with."""
    _, held_out = comparison.real_clips(split, demo_shards, held_out=demo_shards)
    assert (held_out is None) == (split == "test")
    with pytest.raises(errors.UserError):  # a mistake is noticed nevertheless
        comparison.real_clips(split, demo_shards, held_out="/nowhere")


def test_crops_of_larger_stored_frames_are_not_noticed(demo_videos, tmp_path):
    dvd.prepare(demo_videos, str(tmp_path), resolution=16, resize=[24], num_shards=1)
    source = clips.open_clips(str(tmp_path))
    assert {clip.height for clip in source.clip_info} == {24}
    selection = sources.ClipSelection(source, windows.Window(4, 16))
    assert comparability.warnings_of_model(selection, 100, 0) == []


def test_larger_videos_than_the_model_s_are_not_noticed(tmp_path):
    """Its shards were made of such videos."""
    np.save(tmp_path / "a.npy", np.zeros([4, 8, 64, 64, 3], np.uint8))
    selection = sources.ClipSelection(
        clips.open_clips(str(tmp_path / "a.npy")), windows.Window(4, 16)
    )
    assert comparability.warnings_of_model(selection, 100, 0) == []


def test_a_model_is_scored_with_the_statistics_of_each_truncation(gan, demo_shards):
    scores, metric = scores_of(gan), feature_metric.FeatureMetric(PIXELS)
    at_one, at_half, again = (
        scores.by_features(metric, *splits(demo_shards), truncation)
        for truncation in (1.0, 0.5, 1.0)
    )
    assert at_one.score.value == again.score.value != at_half.score.value
    assert at_half.metadata["truncation"] == 0.5
    assert at_one.metadata["num_generated"] == 24
    assert set(at_one.score.others) == {
        *("precision", "recall", "density", "coverage"),
        *("kernel_distance", "memorization", "real_from_real"),
    }


def test_repeats_draw_new_samples(gan, demo_shards):
    metric = feature_metric.FeatureMetric(dataclasses.replace(PIXELS, num_repeats=3))
    score = (
        scores_of(gan).by_features(metric, *splits(demo_shards), num_resamples=10).score
    )
    assert score.sd > 0.0
    assert score.error > 0.0


def test_a_model_with_too_few_frames_for_a_protocol_is_refused(gan, demo_shards):
    metric = feature_metric.FeatureMetric(dataclasses.replace(PIXELS, num_frames=16))
    with pytest.raises(errors.UserError, match=r"needs 16 frames; .* have 4"):
        scores_of(gan).by_features(metric, *splits(demo_shards))


@pytest.mark.slow  # test_s3 has the same of folders
def test_s3_of_a_model_trains_on_as_many_clips_as_are_real(
    gan, demo_shards, tmp_path, monkeypatch
):
    recipe = dataclasses.replace(s3.RECIPE, epochs=1)
    monkeypatch.setattr(
        s3.S3Scorer.__init__, "__defaults__", (recipe, None, None, None)
    )
    protocol = dataclasses.replace(
        protocols.get("s3_scratch"),
        network="small_classifier",
        preprocessing="unit_range",
        num_frames=None,
    )
    real, held_out = splits(demo_shards)
    with pytest.raises(errors.UserError, match="needs held-out real clips"):
        scores_of(gan).s3(protocol, real, None, str(tmp_path))
    try:
        result = scores_of(gan).s3(protocol, real, held_out, str(tmp_path))
    except errors.UserError as error:
        assert "S3 is not defined" in str(error)
        pytest.skip(f"one epoch was too short: {error}")
    others = result.score.others
    assert result.metadata["num_generated"] == 108
    assert result.score.value == pytest.approx(
        (others["SeR (%)"] * others["ReS (%)"]) ** 0.5 / others["ReR (%)"]
    )
    assert result.metadata["weights"] == {"source": "random first weights"}


def test_s3_of_the_paper_requires_initial_weights(gan, demo_shards, tmp_path):
    real, held_out = splits(demo_shards)
    protocol = dataclasses.replace(protocols.get("s3_mvt"), num_frames=None)
    with pytest.raises(errors.UserError, match="needs weights of resnet3d_18 from"):
        scores_of(gan).s3(protocol, real, held_out, str(tmp_path))


@pytest.fixture
def continuing_gan(demo_shards) -> video_gan.Networks:
    sizes = ["RESOLUTION = 16", "STRIDE = 1", "CH = 2", "NUM_FRAMES = 6"]
    sizes += ["CONDITIONING_FRAMES = 2", "dvd_gan.SpatialDiscriminator.num_frames = 2"]
    config.load(["models/dvdgan_fp_v2.gin"], sizes)
    gan = video_gan.from_config(manifest.load(demo_shards).class_names)
    gan.build()
    gan.frame_bank = np.zeros([4, 2, 16, 16, 3], np.uint8)  # for the statistics
    return gan


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_predictions_continue_the_held_out_clips(continuing_gan, demo_shards, stride):
    gan = continuing_gan
    protocol = dataclasses.replace(
        protocols.get("prediction"), num_real=3, samples_per_clip=2
    )
    real = clips.open_clips(demo_shards, "test")
    found = scores_of(gan, 6, stride).prediction(protocol, real).score
    # By hand: the same latents, the same first frames.
    videos = [e.video for e in real.examples(windows.Window(6, 16, stride))][:3]
    z = latents.draw(gan.latent, 6, protocol.seed)
    sampler, best = sampler_lib.Sampler(gan), []
    for i, video in enumerate(videos):
        frames, own = np.stack([video[:2]] * 2), z[2 * i : 2 * i + 2]
        made = sampler.sample(own, [0, 0], frames=frames)["videos"]
        np.testing.assert_array_equal(made[:, :2], [video[:2]] * 2)
        gaps = (made[:, 2:].astype(float) - video[2:]) ** 2
        psnr = 10 * np.log10(255.0**2 / gaps.mean(axis=(2, 3, 4)))
        best.append(psnr.mean(axis=1).max())
    assert found.value == pytest.approx(np.mean(best), rel=1e-4)
    assert found.others["psnr_best"] == found.value
    assert "ssim_best_of_frame_3" in found.others
    gaps = [((v[1].astype(float) - v[5]) ** 2).mean() for v in videos]
    expected = np.mean(10 * np.log10(255.0**2 / np.array(gaps)))
    assert found.others["psnr_copy_of_frame_6"] == pytest.approx(expected, rel=1e-6)


def test_a_prediction_s_distance_stands_beside_that_of_repeated_frames(
    continuing_gan, demo_shards
):
    """The distance of clips that stand still after the given frames."""
    metric = feature_metric.FeatureMetric(PIXELS)
    real = clips.open_clips(demo_shards, "test")
    found = scores_of(continuing_gan, 6, 1).by_features(metric, real).score
    videos = np.stack([e.video for e in real.examples(windows.Window(6, 16, 1))])
    still = np.concatenate([videos[:, :2], videos[:, 1:2].repeat(4, axis=1)], axis=1)
    sides = [metric.extract_features(sources.ArraySource(v)) for v in (videos, still)]
    expected = metric.score(scoring.Sides(sides[0], [sides[1]])).value
    assert found.others["copy"] == pytest.approx(expected, rel=1e-6)
    assert 0.0 < expected != found.value


def test_distances_by_frame_are_of_clips_that_stand_still_from_it_on(
    continuing_gan, demo_shards
):
    metric = feature_metric.FeatureMetric(dataclasses.replace(PIXELS, by_frame=True))
    real = clips.open_clips(demo_shards, "test")
    found = scores_of(continuing_gan, 6, 1).by_features(metric, real).score
    names = [f"until_frame_{n}" for n in range(1, 6)]
    assert [name for name in found.others if name.startswith("until")] == names
    assert found.others["until_frame_2"] == 0.0  # of the given frames
    assert 0.0 < found.others["until_frame_3"] != found.others["until_frame_5"]
    videos = np.stack([e.video for e in real.examples(windows.Window(6, 16, 1))])
    plain = feature_metric.FeatureMetric(PIXELS)

    def features(last, still_from=6):
        still = np.minimum(np.minimum(np.arange(6), last - 1), still_from - 1)
        return plain.extract_features(sources.ArraySource(videos[:, still]))

    for last in (2, 3, 5):
        still = scoring.Sides(features(last), [features(last, still_from=2)])
        expected = plain.score(still).value
        of_copy = found.others[f"copy_until_frame_{last}"]
        assert of_copy == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_what_a_prediction_model_continues_is_recorded(
    continuing_gan, demo_shards, monkeypatch
):
    """Also for a score that compares with no real clips."""
    monkeypatch.setattr(
        feature_metric.pixels.Pixels,
        "call",
        lambda self, videos, training=False: {"logits": videos[:, 0, 0, :4, 0]},
    )
    inception = dataclasses.replace(PIXELS, metric=protocols.INCEPTION, num_real=5)
    metric = feature_metric.FeatureMetric(inception)
    real = clips.open_clips(demo_shards, "test")
    found = scores_of(continuing_gan, 6, 1).by_features(metric, real)
    assert found.metadata["num_real"] == 5
    assert found.hashes()["real clips"] == real.content_hash
    before = found.hashes()
    _, [samples] = scores_of(continuing_gan, 6, 1).sides(inception, real)
    cached = samples.fingerprint()
    bank = continuing_gan.frame_bank
    try:
        continuing_gan.frame_bank = bank + np.uint8(9)
        after = scores_of(continuing_gan, 6, 1).by_features(metric, real).hashes()
        assert before["frame bank"] != after["frame bank"]
        assert before["model"] == after["model"]
        assert samples.fingerprint() != cached
    finally:
        continuing_gan.frame_bank = bank


def test_classes_go_by_their_names_whatever_their_numbers(tmp_path, monkeypatch):
    """Of folders with some of the classes the first would else be the first's."""
    for side, names in (("real", "abc"), ("generated", "bc")):
        for name in names:
            (tmp_path / side / name).mkdir(parents=True)
            video = np.full([5, 4, 8, 8, 3], 100 * "abc".index(name), np.uint8)
            np.save(tmp_path / side / name / "clips.npy", video)
    accuracy = protocols.Protocol(
        "right", protocols.ACCURACY, "pixels", "unit_range", ""
    )

    def one_hot(self, videos, training=False):
        number = tf.cast(tf.round((videos[:, 0, 0, 0, 0] + 1) * 127.5 / 100), tf.int32)
        return {"logits": tf.one_hot(number, 3)}

    monkeypatch.setattr(feature_metric.pixels.Pixels, "call", one_hot)
    real, generated = (
        clips.open_clips(str(tmp_path / side)) for side in ("real", "generated")
    )
    metric, window = feature_metric.FeatureMetric(accuracy), windows.Window(4, stride=1)
    found = comparison.compare_folders(metric, real, generated, None, window, 0)
    assert found.score.value == found.score.others["real"] == 1.0
    with pytest.raises(errors.UserError, match="has 'a', which the others do not have"):
        comparison.compare_folders(metric, generated, real, None, window, 0)
    metric.class_names = ["c", "b", "a"]
    with pytest.raises(errors.UserError, match="differ, or are in another order"):
        metric.check_classes(["a", "b", "c"], "the model")


def test_an_inception_score_looks_at_no_real_clips(demo_shards, tmp_path, monkeypatch):
    inception = protocols.Protocol(
        "is", protocols.INCEPTION, "pixels", "unit_range", ""
    )
    monkeypatch.setattr(
        feature_metric.pixels.Pixels,
        "call",
        lambda self, videos, training=False: {"logits": videos[:, 0, 0, :4, 0]},
    )
    np.save(tmp_path / "made.npy", np.zeros([9, 4, 8, 8, 3], np.uint8))
    real, held_out = splits(demo_shards)
    monkeypatch.setattr(real, "examples", None)
    made = clips.open_clips(str(tmp_path))
    metric = feature_metric.FeatureMetric(inception)
    result = comparison.compare_folders(metric, real, made, held_out, WINDOW, 0)
    assert result.score.value == pytest.approx(1.0)
    assert "real" not in result.metadata and not result.warnings


def test_warnings_of_a_model_are_of_what_was_taken(gan, demo_shards):
    metric = feature_metric.FeatureMetric(dataclasses.replace(PIXELS, num_real=30))
    found = scores_of(gan).by_features(metric, *splits(demo_shards)).warnings
    assert any("30 real clips are too few" in text for text in found)
    longer = scores_of(gan, stride=90)
    found = longer.by_features(metric, *splits(demo_shards)).warnings
    assert any("are shorter than the window" in text for text in found)


def test_a_prediction_score_of_a_model_without_frames_is_refused(gan, demo_shards):
    with pytest.raises(errors.UserError, match="starts from frames"):
        real, _ = splits(demo_shards)
        scores_of(gan).prediction(protocols.get("prediction"), real)


def test_frechet_distances_of_predictions_are_of_as_many_samples_of_each_clip(
    continuing_gan, demo_shards
):
    scores = scores_of(continuing_gan, frames=6, stride=1)
    for num_generated, expected in ((99, 15), (13, 10), (3, 5)):
        protocol = dataclasses.replace(
            PIXELS, num_real=5, samples_per_clip=3, num_generated=num_generated
        )
        metric = feature_metric.FeatureMetric(protocol)
        found = scores.by_features(metric, *splits(demo_shards)).metadata
        assert found["num_generated"] == expected


def test_what_is_printed_of_a_score_holds_no_control_characters():
    metadata = dataclasses.asdict(PIXELS) | {
        "weights": {"source": "a\x1b[2J"},
        "resolution": None,
        "real": {"num_clips": 3, "name": "b\x1b[2J"},
    }
    result = comparison.Result(scoring.Score(1.0), metadata, ["c\x1b[2J"], dict)
    text = printing._described(result)
    assert "\x1b" not in text
    assert all(rf"{name}\x1b[2J" in text for name in "abc")
