"""Records of scores: verified, explained, and refused where they cannot be."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from tf_dvdgan import errors, run_directory, scores, video_gan
from tf_dvdgan.data import clips, shard_source, windows
from tf_dvdgan.evaluation.runs import comparison, protocols, receipts, scoring


def scored(real, generated, tmp_path, name="a.jsonl", **options):
    """Writes a score of few clips to a file; returns its path and its value."""
    result = scores.score(
        real,
        str(generated),
        "fid_pixels",
        num_frames=4,
        cache_dir=str(tmp_path / "cache"),
        num_resamples=0,
        **options,
    )
    path = str(tmp_path / name)
    receipts.write(path, [receipts.record_of(result)])
    return path, result.score.value


@pytest.fixture
def generated(demo_shards, tmp_path):
    """Arrays of brighter and of darker clips, a file each."""
    window = windows.Window(4, 16, 2)
    real = clips.open_clips(demo_shards, "test")
    videos = np.stack([example.video for example in real.examples(window)])
    for name, change in (("brighter", 20), ("darker", -20)):
        np.save(
            tmp_path / f"{name}.npy",
            np.clip(videos + float(change), 0, 255).astype(np.uint8),
        )
    return tmp_path


def test_a_score_is_verified_where_it_was_and_where_its_clips_have_moved(
    demo_shards, generated, tmp_path, capsys
):
    path, value = scored(demo_shards, generated / "brighter.npy", tmp_path, stride=2)
    options = {"cache_dir": str(tmp_path / "other_cache")}
    assert scores.verify(path, **options)
    shown = capsys.readouterr().out
    assert f"fid_pixels: recorded {value:.6g}, now {value:.6g}" in shown
    assert "real clips: the same" in shown and "generated clips: the same" in shown
    moved = tmp_path / "moved.npy"
    shutil.move(generated / "brighter.npy", moved)
    with pytest.raises(errors.UserError, match="There is nothing at"):
        scores.verify(path, **options)
    # The content counts, but the name of a single file is that of its clip.
    (tmp_path / "elsewhere").mkdir()
    place = shutil.move(moved, tmp_path / "elsewhere" / "brighter.npy")
    assert scores.verify(path, places={"generated": str(place)}, **options)


def test_the_clips_that_differ_are_named(demo_shards, generated, tmp_path, capsys):
    path, _ = scored(demo_shards, generated / "brighter.npy", tmp_path, stride=2)
    places = {"generated": str(generated / "darker.npy")}
    assert not scores.verify(path, places=places, cache_dir=str(tmp_path / "cache"))
    shown = capsys.readouterr().out
    assert "generated clips: DIFFERENT" in shown and "real clips: the same" in shown


def test_a_score_that_changed_with_the_same_clips_is_no_success(
    demo_shards, generated, tmp_path, capsys
):
    path, value = scored(demo_shards, generated / "brighter.npy", tmp_path, stride=2)
    record = json.loads((tmp_path / "a.jsonl").read_text())
    record["scores"]["fid_pixels"] = 1.01 * value
    record["versions"]["tensorflow"] = "2.99"
    (tmp_path / "a.jsonl").write_text(json.dumps(record))
    assert not scores.verify(path, cache_dir=str(tmp_path / "cache"))
    shown = capsys.readouterr().out
    assert "the scores are not: recorded by tf_dvdgan" in shown and "2.99" in shown


def test_each_factor_of_a_difference_is_switched(
    demo_shards, generated, tmp_path, capsys
):
    first, before = scored(
        demo_shards, generated / "brighter.npy", tmp_path, "a.jsonl", stride=2
    )
    second, after = scored(
        *(demo_shards, generated / "darker.npy", tmp_path, "b.jsonl"),
        stride=1,
        split="train",
        num_real=20,
        num_generated=30,
    )
    found = scores.explain(first, second, cache_dir=str(tmp_path / "cache"))
    names = [contribution.names for contribution in found]
    assert names == [
        *("split", "number of real clips", "generated clips"),
        *("number of generated clips", "stride"),
    ]
    assert found[-1].score == pytest.approx(after, rel=1e-9)
    total = sum(contribution.change for contribution in found)
    assert total == pytest.approx(after - before, rel=1e-9)
    # The first is switched alone too; of the others, only the stride is scored again.
    assert found[0].alone == pytest.approx(found[0].change, rel=1e-9)
    _, strided = scored(
        demo_shards, generated / "brighter.npy", tmp_path, "c.jsonl", stride=1
    )
    assert found[-1].alone == pytest.approx(strided - before, rel=1e-9)
    shown = capsys.readouterr().out
    assert "brighter.npy (raw, 16x16)  darker.npy (raw, 16x16)" in shown
    assert f"recorded: {before:.6g} and {after:.6g}" in shown


def scored_run(tiny_run, demo_shards, tmp_path, name, truncation):
    receipt = str(tmp_path / name)
    scores.print_scores(
        *(demo_shards, "fid_pixels"),
        model_dir=tiny_run,
        truncations=[truncation],
        output=str(tmp_path / "scores.jsonl"),
        receipt=receipt,
        cache_dir=str(tmp_path / "cache"),
        num_resamples=0,
        num_generated=40,
    )
    return receipt


def test_scores_of_a_model_are_explained_also_beside_those_of_a_folder(
    tiny_run, demo_shards, generated, tmp_path
):
    first, second = (
        scored_run(tiny_run, demo_shards, tmp_path, f"{t}.json", t) for t in (1.0, 0.5)
    )
    values = [receipts.read(p)[0]["scores"]["fid_pixels"] for p in (first, second)]
    cache = {"cache_dir": str(tmp_path / "cache")}
    (found,) = scores.explain(first, second, **cache)
    assert found.names == "truncation" and found.values == ("1.0", "0.5")
    assert found.change == pytest.approx(values[1] - values[0], rel=1e-6)
    folder, value = scored(
        *(demo_shards, generated / "brighter.npy", tmp_path),
        resolution=16,
        stride=2,
    )
    found = scores.explain(first, folder, **cache)
    total = sum(contribution.change for contribution in found)
    assert total == pytest.approx(value - values[0], rel=1e-6)
    assert "generated clips" in " and ".join(c.names for c in found)


def test_scores_of_exported_runs_are_explained_with_the_places_of_both(
    tiny_run, demo_shards, tmp_path, monkeypatch
):
    """They have no paths; the model is where the scores are."""
    pairs = []
    for name, truncation in (("a", 1.0), ("b", 0.5)):
        run = str(shutil.copytree(tiny_run, tmp_path / f"{name}_run"))
        scores.print_scores(
            *(demo_shards, "fid_pixels"),
            model_dir=run,
            truncations=[truncation],
            num_resamples=0,
            num_generated=40,
        )
        rows = receipts.read(run)
        copy = str(tmp_path / name)
        video_gan.load(run).save(copy, as_run=True)
        scores_file = run_directory.RunDirectory(copy).scores_file
        receipts.write(scores_file, receipts.read(scores_file)[-1:])
        pairs.append((copy, rows[-1]["scores"]["fid_pixels"]))
    (first, before), (second, after) = pairs
    monkeypatch.chdir(first)
    (found,) = scores.explain(
        "scores.jsonl", second, places={"real": demo_shards}, num_resamples=0
    )
    assert found.names == "truncation"
    assert found.change == pytest.approx(after - before, rel=0.01)  # rounded kernels
    with pytest.raises(errors.UserError, match="There is nothing at"):
        scores.explain("scores.jsonl", second)


def test_a_place_cannot_stand_for_different_clips(tmp_path):
    paths = []
    for name in ("a", "b"):
        row = record(real=name, truncation=1.0)
        row |= {"hashes": {"real clips": name}, "versions": {}}
        row["inputs"] |= dict.fromkeys(receipts._ARGUMENTS - row["inputs"].keys())
        paths.append(str(tmp_path / f"{name}.json"))
        receipts.write(paths[-1], [row])
    with pytest.raises(errors.UserError, match="different real clips: `real` cannot"):
        scores.explain(*paths, places={"real": "c"})


def test_one_place_stands_for_two_splits_of_it(demo_shards, generated, tmp_path):
    """As for scores of an exported run, which have no paths."""
    paths, values = [], []
    for split in ("train", "test"):
        path, value = scored(
            *(demo_shards, generated, tmp_path, f"{split}.jsonl"), split=split
        )
        (row,) = receipts.read(path)
        row["inputs"]["real"] = None
        receipts.write(path, [row])
        paths.append(path)
        values.append(value)
    places = {"real": demo_shards}
    found = scores.explain(*paths, places=places, num_resamples=0)
    assert "split" in [contribution.names for contribution in found], found
    change = sum(contribution.change for contribution in found)
    assert change == pytest.approx(values[1] - values[0])


def test_of_two_scores_by_one_protocol_none_is_taken_without_a_word(
    demo_shards, generated, tmp_path
):
    path, _ = scored(demo_shards, generated, tmp_path)
    (row,) = receipts.read(path)
    other = json.loads(json.dumps(row))
    other["inputs"]["generated"] = "elsewhere"
    both = str(tmp_path / "both.jsonl")
    receipts.write(both, [row, other])
    with pytest.raises(errors.UserError, match=r"both\.jsonl has 2 scores"):
        scores.explain(path, both)


def test_remote_shards_are_not_read_for_a_record(demo_shards, monkeypatch):
    source = clips.open_clips(demo_shards)
    local = source.content_hash
    monkeypatch.setattr(shard_source.files, "is_remote", lambda path: True)
    remote = clips.open_clips(demo_shards)
    remote.__dict__["_checksum"] = "of sizes and times"
    assert remote.content_hash.startswith("unread:")
    name = "fid_pixels"
    recorded = {"protocol": {"name": name}, "scores": {name: 1.0}, "versions": {}}
    recorded["hashes"] = {"real clips": remote.content_hash}
    now = comparison.Result(
        scoring.Score(1.0), {"weights": {}}, [], lambda: {"real clips": local}
    )
    lines, is_same = receipts.compare(recorded, now)
    assert is_same and "real clips: not compared" in lines[1]


def test_every_metric_of_a_record_is_verified(demo_shards, generated, tmp_path, capsys):
    path, _ = scored(demo_shards, generated / "brighter.npy", tmp_path, stride=2)
    record = json.loads((tmp_path / "a.jsonl").read_text())
    names = {name.removeprefix("fid_pixels/") for name in record["scores"]}
    assert {"kernel_distance", "precision", "recall", "density", "coverage"} <= names
    for name in ("kernel_distance", "coverage"):
        changed = json.loads(json.dumps(record))
        changed["scores"][f"fid_pixels/{name}"] += 0.01
        (tmp_path / "a.jsonl").write_text(json.dumps(changed))
        assert not scores.verify(path)
        shown = capsys.readouterr().out
        assert f"fid_pixels/{name}: DIFFERENT" in shown and shown.count("DIFF") == 1


def test_features_of_an_earlier_command_do_not_verify_themselves(
    demo_shards, generated, tmp_path, monkeypatch
):
    path, _ = scored(demo_shards, generated / "brighter.npy", tmp_path, stride=2)
    used = []
    made = scores.scorer_lib.Scorer

    def scorer(*arguments, **options):
        used.append(options["cache_dir"])
        return made(*arguments, **options)

    monkeypatch.setattr(scores.scorer_lib, "Scorer", scorer)
    assert scores.verify(path)
    assert ".cache" not in used[0] and "tf_dvdgan-" in used[0]


def test_scores_that_differ_in_nothing_say_so(demo_shards, generated, tmp_path, capsys):
    path, _ = scored(demo_shards, generated / "darker.npy", tmp_path, stride=2)
    assert scores.explain(path, path, cache_dir=str(tmp_path / "cache")) == []
    assert "differ in nothing that is scored" in capsys.readouterr().out


def test_clips_that_were_replaced_are_not_explained(demo_shards, generated, tmp_path):
    place = generated / "brighter.npy"
    first, _ = scored(demo_shards, place, tmp_path, "a.jsonl", stride=2)
    shutil.copy(generated / "darker.npy", place)
    second, _ = scored(demo_shards, place, tmp_path, "b.jsonl", stride=2)
    with pytest.raises(errors.UserError, match=r"generated clips .* been replaced"):
        scores.explain(first, second)
    # Of other places, too, the clips must still be those of the score.
    third, _ = scored(
        demo_shards, generated / "darker.npy", tmp_path, "c.jsonl", stride=1
    )
    scores.explain(second, third)  # the same clips, at two places
    for pair in ((first, third), (third, first)):
        with pytest.raises(errors.UserError, match=r"generated clips .* been replaced"):
            scores.explain(*pair)


def test_all_scores_of_a_file_are_verified(demo_shards, generated, tmp_path, capsys):
    options = {"stride": 2}
    rows = []
    for name in ("brighter", "darker", "brighter"):
        path, _ = scored(demo_shards, generated / f"{name}.npy", tmp_path, **options)
        rows += [json.loads((tmp_path / "a.jsonl").read_text())]
    rows[0]["scores"]["fid_pixels"] = rows[1]["scores"]["fid_pixels"] = 12345.0
    gone = json.loads(json.dumps(rows[2]))
    gone["inputs"]["generated"] = "/nowhere"
    receipts.write(path, [gone, *rows])  # the last repeats the first of them
    assert not scores.verify(path)
    shown = capsys.readouterr().out
    assert shown.count("fid_pixels: recorded") == 2 and "recorded 12345" in shown
    assert "fid_pixels: not repeated. There is nothing at /nowhere" in shown
    receipts.write(path, [gone, rows[2]])
    assert not scores.verify(path)


def test_of_several_workers_the_chief_verifies(
    demo_shards, generated, tmp_path, monkeypatch, capsys
):
    path, _ = scored(demo_shards, generated / "brighter.npy", tmp_path, stride=2)
    monkeypatch.setattr(scores.strategy_lib, "is_chief", lambda strategy: False)
    assert scores.verify(path)
    assert "DIFFERENT" not in capsys.readouterr().out


def test_scores_in_a_copied_run_are_of_the_copy(tiny_run, tmp_path):
    copy = str(shutil.copytree(tiny_run, tmp_path / "copy"))
    assert {r["inputs"]["model_dir"] for r in receipts.read(tiny_run)} == {tiny_run}
    for place in (copy, run_directory.RunDirectory(copy).scores_file):
        assert {r["inputs"]["model_dir"] for r in receipts.read(place)} == {copy}
    receipt = str(tmp_path / "copy" / "receipt.json")
    receipts.write(receipt, receipts.read(tiny_run))
    assert {r["inputs"]["model_dir"] for r in receipts.read(receipt)} == {tiny_run}


def test_a_receipt_replaces_no_history(tiny_run, demo_shards, generated, tmp_path):
    run = str(shutil.copytree(tiny_run, tmp_path / "run"))
    history = run_directory.RunDirectory(run).scores_file
    notes = tmp_path / "notes.txt"
    notes.write_text("My notes.\n")
    others = {"generated": str(generated / "darker.npy")}
    for kind, arguments, message in (
        ({"model_dir": run}, {"receipt": history}, "a receipt would replace it"),
        (others, {"output": "x.jsonl", "receipt": "./x.jsonl"}, "would replace it"),
        (others, {"output": str(notes)}, "not a file of scores"),
        (others, {"receipt": str(notes)}, "not a file of scores"),
    ):
        with pytest.raises(errors.UserError, match=message):
            scores.print_scores(demo_shards, "fid_pixels", **kind, **arguments)
    assert notes.read_text() == "My notes.\n"


def test_a_share_may_differ_by_a_few_clips():
    for name, metric, change, same in (
        ("accuracy_small", protocols.ACCURACY, 1 / 2048, True),
        ("accuracy_small/word_1", protocols.ACCURACY, 1 / 720, True),
        ("accuracy_small", protocols.ACCURACY, 0.01, False),
        ("fid_small/recall", protocols.FRECHET, 1 / 720, True),
        ("fid_small", protocols.FRECHET, 1 / 720, False),
    ):
        is_share = metric == protocols.ACCURACY
        assert receipts._is_close(name, 0.4, 0.4 + change, is_share) == same, name


@pytest.mark.parametrize(
    ("first", "second", "factors"),
    [
        # An I3D of 400 classes and one of 600, of one list of files.
        ({}, {"protocol.num_classes": 600}, ["weights"]),
        (
            {"hash.weights": "a"},
            {"hash.weights": "a", "mean": "m", "hash.mean": "c"},
            [],
        ),
        (
            {"hash.weights": "a", "mean": "l", "hash.mean": "b"},
            {"hash.weights": "a", "mean": "m", "hash.mean": "c"},
            ["weights"],
        ),
        ({"hash.model": "a"}, {"model_dir": "r", "hash.model": "a"}, []),
        # Remote shards, of which only names and sizes are known.
        (
            {"real": "a", "hash.real clips": "unread:1"},
            {"real": "b", "hash.real clips": "unread:1"},
            ["real clips"],
        ),
        (
            {"hash.model": "a", "hash.frame bank": "b"},
            {"model_dir": "r", "hash.model": "a", "hash.frame bank": "c"},
            ["generated clips"],
        ),
    ],
)
def test_contents_decide_whether_a_factor_differs(first, second, factors):
    records = [record(), record()]
    for changes, row in zip((first, second), records, strict=True):
        for key, value in changes.items():
            kind, _, name = key.rpartition(".")
            target = row["hashes"] if kind == "hash" else row["inputs"]
            target = row["inputs"]["protocol"] if kind == "protocol" else target
            target[name] = value
    assert receipts._differing(*records) == factors


def record(metric="frechet_distance", **inputs):
    protocol = {"metric": metric, "network": "n", "num_frames": 4, "stride": 1}
    fields = {
        field: None
        for keys in receipts._FACTORS.values()
        for field in keys
        if not field.startswith("protocol.")
    }
    used = {**protocol, "resolution": 16, "num_generated": inputs.pop("count", 8)}
    every = {
        field.removeprefix("protocol."): None
        for keys in receipts._FACTORS.values()
        for field in keys
        if field.startswith("protocol.")
    }
    return {
        "protocol": used
        | {"name": "p", "generated": {"name": "g", "codecs": [], "sizes": []}},
        "inputs": {
            **fields,
            **inputs,
            "protocol": {**every, **protocol, "samples_per_clip": 1},
        },
        "hashes": {},
        "scores": {"p": 1.0},
    }


@dataclasses.dataclass
class Result:
    """The parts of a result that `explain` reads."""

    value: float

    @property
    def score(self):
        return self

    @property
    def metadata(self):
        return {"weights": {}}

    def hashes(self):
        return {}


def test_factors_that_do_not_fit_each_other_are_switched_together():
    """A folder of other frames does not fit the first one's resolution."""

    def score(inputs):
        if (inputs["generated"] == "small") != (inputs["resolution"] == 8):
            raise errors.UserError("The sizes differ.")
        return Result(5.0 if inputs["generated"] == "small" else 3.0)

    first, second = record(generated="large"), record(generated="small")
    second["protocol"]["resolution"] = 8
    (found,) = receipts.explain(first, second, score)
    assert found.names == "generated clips and resolution"
    assert (found.score, found.change, found.alone) == (5.0, 2.0, None)


def test_a_model_is_opened_once_for_all_scores(monkeypatch):
    opened, scored = [], []

    class Scorer:
        def __init__(self, generated, **arguments):
            scored.append((generated, arguments["real"]))

        def score(self, protocol, truncation):
            return Result(truncation)

    monkeypatch.setattr(
        scores, "open_model", lambda *place, strategy: opened.append(place) or place
    )
    monkeypatch.setattr(scores.scorer_lib, "Scorer", Scorer)
    protocol = dataclasses.asdict(protocols.get("fid_pixels"))
    arguments = dict.fromkeys(receipts.OF_SCORER) | {"protocol": protocol}
    repeat = scores._repeater()
    for model_dir, truncation in (("a", 1.0), ("a", 0.5), ("b", 1.0)):
        inputs = {"generated": None, "model_dir": model_dir, "step": 3}
        assert (
            repeat({**arguments, **inputs, "truncation": truncation}).value
            == truncation
        )
    assert opened == [("a", 3), ("b", 3)] and len(scored) == 3


def test_other_metrics_are_not_explained():
    with pytest.raises(errors.UserError, match="cannot be explained"):
        receipts.explain(record(), record("inception_score"), None)


def test_a_file_without_records_is_said_to_have_none(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_text('{"step": 1, "scores": {}, "protocol": {"window": {}}}\n')
    with open(path, "a") as file:
        file.write('{"inputs": [], "protocol": {"name": "p"}, "scores": {"p": 1}}\n')
        file.write('{"inputs": {"real": "r"}, "protocol": "p", "scores": {}}\n')
    with pytest.raises(errors.UserError, match="has no score that can be repeated"):
        receipts.read(str(path))
    with pytest.raises(errors.UserError, match="There is nothing at"):
        receipts.read(str(tmp_path / "no"))


def test_a_record_of_another_version_is_refused():
    with pytest.raises(errors.UserError, match="another version"):
        receipts.protocol_of({"protocol": {"name": "p", "color": 1}})
