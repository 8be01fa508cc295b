"""From encoded videos to shards: the command, and the parts it is made of."""

import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import tensorflow as tf
from conftest import (
    IN_PROCESS,
    after,
    limit_of_file_size,
    prepare_in_process,
    run_module,
    run_process,
)

import tf_dvdgan as dvd
from data_prep import decoding, job, receipts, sources
from data_prep import tasks as tasks_lib
from data_prep.sources import folder, ucf101
from tf_dvdgan import errors
from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.data import readers, records, video_io, video_reader, windows


def run(*flags: str) -> subprocess.CompletedProcess:
    return run_module("data_prep.prepare", *flags)


def read_records(shards: str, split: str):
    manifest = manifest_lib.load(shards)
    for shard in manifest.splits[split]:
        for record in tf.data.TFRecordDataset(f"{shards}/{shard.file}"):
            yield records.parse(record)


def test_the_command_writes_good_clips_and_lists_bad_ones(demo_videos, tmp_path):
    videos, shards = tmp_path / "videos", tmp_path / "shards"
    shutil.copytree(demo_videos, videos)
    some = videos / "RoundCircle"
    whole = next(some.glob("*.mp4")).read_bytes()
    (some / "empty.avi").touch()
    (some / "text.mp4").write_text("no video\n")
    (some / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (some / "late.avi").symlink_to("gone.avi")
    shutil.rmtree(videos / "ucfTrainTestlist")
    (videos / "Notes").mkdir()
    (videos / "Notes" / "broken.mp4").write_text("no video\n")
    (videos / "Notes" / "text.txt").write_text("no video\n")
    flags = [f"--input={videos}", f"--output={shards}", "--resolution=16"]
    result = run(*flags, "--num_shards=3")
    assert result.returncode == 0, result.stderr
    manifest = manifest_lib.load(str(shards))
    assert list(manifest.splits) == ["train"]
    assert manifest.num_clips("train") == 144
    assert manifest.class_counts("train") == [16] * 3 + [0] + [16] * 6
    assert "warning: no clips of Notes: a model cannot learn these" in result.stdout
    assert manifest.resolution == 16 and len(manifest.splits["train"]) == 3
    rejected = [json.loads(line) for line in open(shards / "rejected.jsonl")]
    reasons = {entry["path"].split("/")[1]: entry["reason"] for entry in rejected}
    assert reasons == {
        "empty.avi": "empty file",
        "text.mp4": "not a video that can be decoded",
        "cut.mp4": "not a video that can be decoded",
        "late.avi": "its link leads nowhere",
        "broken.mp4": "not a video that can be decoded",
    }
    assert "skipped, because they are not clips: 1 .txt" in result.stdout
    assert sum(manifest.num_rejected.values()) == 5
    table = [line.split() for line in result.stdout.splitlines()]
    assert ["train", "144", "144", "3"] in [row[:4] for row in table]
    assert ["RoundCircle", "16", "#" * 40] in table
    assert ["rejected:", "1", "empty", "file"] in table
    assert (shards / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")

    # Again, with a stricter limit: nothing is written again; it fails, and says why.
    times = {p: p.stat().st_mtime_ns for p in shards.glob("*.tfrecord")}
    strict = run(*flags, "--num_shards=3", "--max_bad_fraction=0.01")
    assert {p: p.stat().st_mtime_ns for p in shards.glob("*.tfrecord")} == times
    assert strict.returncode == 1
    assert "5 of 149 files cannot be used" in strict.stderr
    assert "Traceback" not in strict.stderr


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--input=/nowhere", "--output=x"], 1, "--input=/nowhere is not a folder"),
        (["--input=.", "--output="], 2, "--output is empty"),
        (["--inptu=a", "--output=b"], 2, "inptu"),
        (["--input=a", "--output=b", "--resoltion=3"], 2, "Did you mean 'resolution'"),
        (["--input=.", "--output=/b", "--resize=3x4"], 1, "--resize=96,136; not '3x4'"),
        (["--input=.", "--output=/b", "--resize=1,2,3"], 1, "HEIGHT,WIDTH or none"),
        (
            ["--input=.", "--output=/b", "--resize=96,60"],
            1,
            "smaller than --resolution",
        ),
    ],
)
def test_mistakes_are_reported(flags, code, message):
    result = run(*flags)
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_records_hold_what_the_clips_were(demo_shards, demo_videos):
    parsed = list(read_records(demo_shards, "train"))
    context, frames = parsed[0]
    values = {name: value.numpy() for name, value in context.items()}
    assert values["height"] == 16 and values["width"] == 21
    assert values["num_frames"] == len(frames) == 40 and values["fps"] == 25.0
    class_names = manifest_lib.load(demo_shards).class_names
    assert values["class_name"].decode() == class_names[values["label"]]
    source = values["source"].decode()
    assert source.startswith(values["class_name"].decode())
    reader = video_reader.VideoReader(os.path.join(demo_videos, source))
    expected = video_io.resize_smallest_side(list(reader)[7], 16)
    decoded = tf.io.decode_jpeg(frames[7]).numpy().astype(int)
    assert np.abs(decoded - expected).mean() < 4
    ids = [context["video_id"].numpy() for context, _ in parsed]
    assert len(set(ids)) == len(ids) == 108


def test_png_frames_are_lossless(demo_videos, tmp_path):
    listing = ucf101.list_clips(demo_videos)
    few = sources.Listing(listing.class_names, listing.clips[:3])
    prepare_in_process(few, demo_videos, str(tmp_path), encoding="png")
    context, frames = next(read_records(str(tmp_path), "train"))
    source = context["source"].numpy().decode()
    reader = video_reader.VideoReader(os.path.join(demo_videos, source))
    expected = video_io.resize_smallest_side(next(iter(reader)), 16)
    np.testing.assert_array_equal(tf.io.decode_png(frames[0]), expected)


@pytest.mark.parametrize(
    ("resize", "size"),
    [("none", (24, 32)), ("20", (20, 27)), ("20,40", (20, 40)), (None, (16, 21))],
)
def test_frames_are_resized_before_they_are_cropped(
    demo_videos, tmp_path, resize, size
):
    videos = tmp_path / "videos"
    videos.mkdir()
    clip = next(pathlib.Path(demo_videos).glob("*/*.avi"))
    shutil.copy(clip, videos)
    every = np.stack(list(video_reader.VideoReader(str(clip))))
    assert every.shape[1:] == (24, 32, 3)
    shards = str(tmp_path / "shards")
    if resize == "20,40":
        flags = [f"--input={videos}", f"--output={shards}", "--resolution=16"]
        result = run(*flags, "--encoding=png", f"--resize={resize}")
        assert result.returncode == 0, result.stderr
    else:
        listing = folder.list_clips(str(videos))
        sides = {None: None, "none": [], "20": [20]}[resize]
        prepare_in_process(listing, str(videos), shards, encoding="png", resize=sides)
    ((context, frames),) = read_records(shards, "train")
    assert (context["height"].numpy(), context["width"].numpy()) == size
    expected = cv2.resize(every[3], size[::-1], interpolation=cv2.INTER_LINEAR)
    found = tf.io.decode_png(frames[3]).numpy().astype(int)
    assert np.abs(found - expected).max() <= 1  # colors are converted after it
    # A model of 16 pixels sees crops of them.
    window = windows.Window(4, 16)
    row = next(iter(readers.evaluation_dataset(shards, window, "train")))
    top, left = ((side - 16 + 1) // 2 for side in size)
    middle = row["video"].numpy()
    assert middle.shape == (4, 16, 16, 3)
    crops = [
        tf.io.decode_png(frame).numpy()[top : top + 16, left : left + 16]
        for frame in frames
    ]
    assert any((middle[0] == crop).all() for crop in crops)


def test_frames_that_are_too_small_to_crop_are_rejected(demo_videos):
    clip = next(pathlib.Path(demo_videos).glob("*/*.avi"))
    recipe = decoding.Recipe(64, resize=())
    with pytest.raises(video_io.VideoError, match="smaller than --resolution: 32 x 24"):
        decoding.decode("video", [str(clip)], 0, recipe)


def test_shards_of_earlier_versions_are_not_prepared_again():
    settings = tasks_lib.Settings("in", "out", decoding.Recipe(16))
    (task,) = tasks_lib.plan(
        sources.Listing(["a"], [sources.Clip("a.avi", 0, "a", "train")]), 1, 0
    )
    known = "c41057c5e9cdf7ec8f05b4748f2be2b51b5d3d35caa9feab9382f78108318ac3"
    assert task.fingerprint(settings) == known
    resized = dataclasses.replace(settings, recipe=decoding.Recipe(16, resize=(24,)))
    assert task.fingerprint(resized) != known


def test_the_plan_deals_every_clip_once_whatever_the_order_of_listing():
    clips = [sources.Clip(f"{i}.avi", i % 3, str(i), "train") for i in range(100)]
    tasks = tasks_lib.plan(sources.Listing(list("abc"), clips), 8, seed=1)
    other = tasks_lib.plan(sources.Listing(list("abc"), clips[::-1]), 8, seed=1)
    assert tasks == other
    assert tasks != tasks_lib.plan(sources.Listing(list("abc"), clips), 8, seed=2)
    dealt = [clip for task in tasks for clip in task.clips]
    assert sorted(dealt, key=clips.index) == clips
    assert {len(task.clips) for task in tasks} == {12, 13}


def test_long_clips_become_several_records(demo_videos, tmp_path):
    listing = ucf101.list_clips(demo_videos)
    few = sources.Listing(listing.class_names, listing.clips[:6])
    outcome = prepare_in_process(few, demo_videos, str(tmp_path), segment_frames=16)
    parsed = [context for context, _ in read_records(str(tmp_path), "train")]
    assert {int(context["num_frames"]) for context in parsed} == {16}
    ids = sorted(context["video_id"].numpy().decode() for context in parsed)
    clips = [clip.video_id for clip in few.clips]
    assert ids == sorted(f"{video_id}_{n:03}" for video_id in clips for n in (0, 1))
    assert outcome.num_written == {"train": 6}  # of 40 frames each
    assert outcome.manifest.num_clips("train") == 12
    assert sum(outcome.manifest.class_counts("train")) == 12


def test_clips_of_several_rates_get_a_warning_and_one_rate(tmp_path, capsys):
    """A square that crosses the picture in two seconds, filmed at 10, 20 and 30 fps."""
    for fps in (10, 20, 30):
        video = np.zeros([2 * fps, 32, 128, 3], np.uint8)
        for t in range(2 * fps):
            left = 4 + round(96 * t / (2 * fps))
            video[t, 8:24, left : left + 16] = 255
        (tmp_path / "videos" / "a").mkdir(parents=True, exist_ok=True)
        path = tmp_path / "videos" / "a" / f"{fps}.mp4"
        video_io.write_video(str(path), video, fps)
    settings = {"resolution": 32, "beam_flags": IN_PROCESS}
    job.prepare(str(tmp_path / "videos"), str(tmp_path / "as_is"), **settings)
    printed = capsys.readouterr().out
    assert "warning: the videos have several frame rates" in printed
    assert "--fps=" in printed and "20 fps" in printed
    job.prepare(str(tmp_path / "videos"), str(tmp_path / "alike"), fps=10, **settings)
    assert "several frame rates" not in capsys.readouterr().out
    places = []
    for context, frames in read_records(str(tmp_path / "alike"), "train"):
        assert float(context["fps"]) == 10 and len(frames) == 20
        video = np.stack([tf.io.decode_jpeg(frame) for frame in frames])
        places.append(
            (video.mean((1, 3)) * np.arange(128)).sum(1) / video.mean((1, 3)).sum(1)
        )
    assert np.ptp(places, axis=0).max() < 5  # of 128; 4.8 pixels a frame at 10 fps


def test_a_shard_is_rewritten_for_another_recipe_not_for_another_time_limit():
    clips = [sources.Clip("a.bin", 0, "a", "train", "softmotion", 5)]
    (task,) = tasks_lib.plan(sources.Listing(["x"], clips), 1, seed=0)
    settings = tasks_lib.Settings("in", "out", decoding.Recipe(16))
    done = task.fingerprint(settings)
    other = dataclasses.replace(settings, decode_seconds=5.0)
    assert task.fingerprint(other) == done
    other = dataclasses.replace(settings, recipe=decoding.Recipe(16, stabilize=True))
    assert task.fingerprint(other) != done
    clips = [dataclasses.replace(clips[0], offset=6)]
    (task,) = tasks_lib.plan(sources.Listing(["x"], clips), 1, seed=0)
    assert task.fingerprint(settings) != done


def test_only_shards_of_repaired_files_are_rewritten(tmp_path):
    """A file that was missing, one that was broken, one that took too long."""
    videos, shards = tmp_path / "videos", str(tmp_path / "shards")
    for name in "abcdef":
        (videos / name[0]).mkdir(parents=True)
        video = np.full([4, 20, 20, 3], 40, np.uint8)
        video_io.write_video(str(videos / name / "clip.avi"), video)
    whole = (videos / "b" / "clip.avi").read_bytes()
    listing = folder.list_clips(str(videos))
    (videos / "a" / "clip.avi").unlink()
    (videos / "b" / "clip.avi").write_bytes(whole[:200])
    first = prepare_in_process(listing, str(videos), shards, num_shards=6)
    assert len(first.rejected) == 2
    assert all(entry.keys() == {"path", "reason"} for entry in first.rejected)
    settings = tasks_lib.Settings(str(videos), shards, decoding.Recipe(16))
    tasks = tasks_lib.plan(listing, 6, seed=0)
    manifest = os.path.join(shards, "manifest.json")
    assert receipts.start_job(tasks, settings) == [] and os.path.exists(manifest)
    longer = dataclasses.replace(settings, decode_seconds=90.0)
    rejected = [t for t in tasks if t.clips[0].path in ("a/clip.avi", "b/clip.avi")]
    for name in "ab":
        (videos / name / "clip.avi").write_bytes(whole)
    assert receipts.start_job(tasks, settings) == rejected
    assert not os.path.exists(manifest)  # it would be of what is not there
    again = prepare_in_process(listing, str(videos), shards, num_shards=6)
    assert again.rejected == [] and again.manifest.num_clips("train") == 6
    (videos / "b" / "clip.avi").write_bytes(whole[:200])
    (task,) = (t for t in tasks if t.clips[0].path == "b/clip.avi")
    os.remove(os.path.join(shards, task.file))
    prepare_in_process(listing, str(videos), shards, num_shards=6)
    assert receipts.start_job(tasks, settings) == []
    assert receipts.start_job(tasks, longer) == [task]


def test_leftovers_of_dead_jobs_are_removed(tmp_path):
    settings = tasks_lib.Settings("in", str(tmp_path), decoding.Recipe(16))
    os.mkdir(receipts.folder_of(settings))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    own = f"b.tfrecord.unfinished-{os.getpid()}"
    for name in ("a.tfrecord", own, f"c.tfrecord.unfinished-{dead.pid}"):
        (tmp_path / name).touch()
        (tmp_path / ".prepare" / name).touch()
    receipts.remove_leftovers(settings)
    for folder_ in (tmp_path, tmp_path / ".prepare"):
        assert {p.name for p in folder_.iterdir()} - {".prepare"} == {"a.tfrecord", own}


def contents(shards: pathlib.Path) -> dict[str, bytes]:
    """Of all files that training reads."""
    files = [path for path in shards.iterdir() if path.is_file()]
    return {path.name: path.read_bytes() for path in files if path.suffix != ".png"}


def without_flags(files: dict[str, bytes]) -> dict[str, object]:
    """The same; of the manifest what does not say how it was called."""
    manifest = json.loads(files["manifest.json"])
    del manifest["made_with"], manifest["dataset"]
    return files | {"manifest.json": manifest}


def test_python_prepares_as_the_command_does(demo_videos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    command = str(tmp_path / "command")
    flags = ["--dataset=ucf101", f"--input={demo_videos}", f"--output={command}"]
    flags += ["--resolution=16", "--resize=16", "--num_shards=3"]
    result = run(*flags, *IN_PROCESS)
    assert result.returncode == 0, result.stderr
    outcome = dvd.prepare(
        pathlib.Path(demo_videos),
        pathlib.Path("~/function"),
        dataset="ucf101",
        resolution=np.int64(16),
        resize=np.array([16]),
        num_shards=np.int32(3),
        max_bad_fraction=np.float32(0),
        beam_flags=IN_PROCESS,
    )
    assert contents(tmp_path / "function") == contents(tmp_path / "command")
    assert outcome.manifest.num_clips("train") == 108 and not outcome.rejected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "ucf-101"}, "dataset` must be one of .*ucf101"),
        ({"encoding": "gif"}, "encoding` must be 'jpeg' or 'png', not 'gif'"),
        ({"test_share": 1.5}, "test_share` must be from 0 to 0.9, not 1.5"),
        ({"segment_frames": 1}, "segment_frames` must be at least 2, not 1"),
        ({"segment_frames": 16.0}, "segment_frames` must be a whole .*, not 16.0"),
        ({"resolution": 16.5}, "resolution` must be a whole number, not 16.5"),
        ({"resolution": "16"}, "resolution` must be a whole number, not '16'"),
        ({"resolution": None}, "resolution` must be a whole number, not None"),
        ({"resolution": True}, "resolution` must be a whole number, not True"),
        ({"num_shards": 2.5}, "num_shards` must be a whole number, not 2.5"),
        ({"seed": None}, "seed` must be a whole number, not None"),
        ({"seed": 10**70}, "seed` must be from -"),
        ({"fps": "25"}, "fps` must be a number, not '25'"),
        ({"fps": float("nan")}, "fps` must be a number, not nan"),
        ({"decode_seconds": None}, "decode_seconds` must be a number, not None"),
        ({"decode_seconds": float("inf")}, "decode_seconds` must be a number, not inf"),
        ({"resize": 64}, r"resize` must be \[smaller side\], .*, not 64"),
        ({"resize": "64"}, "resize` must be .*, not '64'"),
        ({"resize": [96.5]}, r"resize` must be .*, not \[96.5\]"),
        ({"resize": np.array(64)}, "resize` must be .*, not array"),
        ({"resize": [64, 64, 3]}, "resize` must be "),
        ({"resize": [-64], "resolution": 4}, "resize` must be "),
        ({"beam_flags": "--runner=A"}, "beam_flags` must be a list .*, not '--runner"),
        ({"beam_flags": [1]}, "beam_flags` must be a list of flags"),
        ({"beam_flags": None}, "beam_flags` must be a list of flags"),
        ({"lists": 3}, "A path must be text"),
    ],
)
def test_mistakes_in_python_are_reported(demo_videos, tmp_path, arguments, message):
    with pytest.raises(errors.UserError, match=message):
        dvd.prepare(demo_videos, str(tmp_path / "shards"), **arguments)
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize("num_kills", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_a_killed_job_resumes_to_the_same_bytes(demo_videos, tmp_path, num_kills):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    listing = ucf101.list_clips(demo_videos)
    recipe = {"resolution": 80, "segment_frames": 16}
    prepare_in_process(listing, demo_videos, str(undisturbed), num_shards=9, **recipe)
    flags = [f"--{name}={value}" for name, value in recipe.items()]
    flags += ["--dataset=ucf101", f"--input={demo_videos}", f"--output={killed}"]
    flags += ["--num_shards=9"]
    command = [sys.executable, "-m", "data_prep.prepare", *flags]
    draw = random.Random(num_kills)
    receipts = killed / ".prepare"
    for kill in range(num_kills):
        job = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Some clips after the next receipt, which is while something is written.
        enough = 1 + len(list(receipts.glob("*"))) if kill else 0
        while len(list(receipts.glob("*"))) < enough and job.poll() is None:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.05) if kill else draw.uniform(0, 5))
        if draw.random() < 0.5:
            job.kill()  # its workers end by themselves
        else:
            os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    result = run(*flags)
    assert result.returncode == 0, result.stderr
    assert without_flags(contents(killed)) == without_flags(contents(undisturbed))
    assert len(list(receipts.iterdir())) == 18


THIS_MACHINE = {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1


def listening(process: int) -> set[str]:
    """Addresses, as hexadecimal numbers, at which a process waits for connections."""
    inodes = {
        os.readlink(path)[8:-1]
        for path in pathlib.Path(f"/proc/{process}/fd").iterdir()
        if os.path.islink(path) and os.readlink(path).startswith("socket:")
    }
    found = set()
    for table in ("tcp", "tcp6"):
        for row in open(f"/proc/{process}/net/{table}").read().splitlines()[1:]:
            words = row.split()
            if words[3] == "0A" and words[9] in inodes:
                found.add(words[1].split(":")[0])
    return found


@pytest.mark.parametrize(
    "runner", [pytest.param("direct", marks=pytest.mark.slow), "FnApiRunner"]
)
def test_a_local_runner_of_the_users_listens_on_this_machine_only(
    demo_videos, tmp_path, runner
):
    beam_flags = [f"--runner={runner}", "--direct_running_mode=multi_processing"]
    flags = [f"--input={demo_videos}", f"--output={tmp_path / 'shards'}"]
    flags += ["--dataset=ucf101", "--resolution=64", "--num_shards=40", *beam_flags]
    command = [sys.executable, "-m", "data_prep.prepare", *flags]
    job = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while len(list((tmp_path / "shards").glob("train-*"))) < 1:
        assert job.poll() is None
        time.sleep(0.01)
    addresses = listening(job.pid)
    job.kill()
    job.wait()
    assert addresses and addresses <= THIS_MACHINE


def test_a_job_is_locked_listens_on_loopback_and_reports_sigterm(demo_videos, tmp_path):
    (tmp_path / "tmp").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    flags = [f"--input={demo_videos}", f"--output={tmp_path / 'shards'}"]
    flags += ["--dataset=ucf101", "--resolution=64", "--num_shards=40"]
    command = [sys.executable, "-m", "data_prep.prepare", *flags]
    job = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    while len(list((tmp_path / "shards").glob("train-*"))) < 2:
        assert job.poll() is None
        time.sleep(0.01)
    job.send_signal(signal.SIGSTOP)
    addresses = listening(job.pid)
    other = run(*flags)
    job.send_signal(signal.SIGTERM)
    job.send_signal(signal.SIGCONT)
    _, err = job.communicate()
    assert addresses and addresses <= THIS_MACHINE
    assert other.returncode == 1 and other.stderr.count("\n") == 1
    assert f"Another preparation is using {tmp_path}/shards/.prepare" in other.stderr
    assert job.returncode == 128 + signal.SIGTERM
    assert "Interrupted. Finished shards are kept; the same command resumes" in err
    assert "Traceback" not in err and not os.listdir(tmp_path / "tmp")


@pytest.mark.parametrize(
    "limit", [pytest.param(99_000, marks=pytest.mark.slow), 8_000]
)  # with 8,000 the processes' own messages do not fit either
def test_a_full_disk_is_reported_and_leaves_nothing(demo_videos, tmp_path, limit):
    done = run_process(
        *after(limit_of_file_size(limit), "-m", "data_prep.prepare"),
        *("--dataset=ucf101", f"--input={demo_videos}", "--resolution=64"),
        *(f"--output={tmp_path / 'shards'}", "--num_shards=1"),
        timeout=300,
    )
    assert done.returncode == 1
    *progress, message = done.stderr.splitlines()  # a fast job shows no progress
    assert all(line.startswith("preparing clips") for line in progress)
    assert message.startswith(f"error: The disk of {tmp_path}/shards is full. Finished")
    assert not [p for p in (tmp_path / "shards").rglob("*") if "unfinished" in p.name]


def test_a_folder_of_others_is_not_written_into(demo_videos, tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": "my app"}')
    flags = [f"--input={demo_videos}", f"--output={tmp_path}", "--dataset=ucf101"]
    done = run(*flags)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "has other files, such as 'manifest.json', and no shards" in done.stderr
    assert os.listdir(tmp_path) == ["manifest.json"]
    assert (tmp_path / "manifest.json").read_text() == '{"name": "my app"}'


def test_lost_work_is_noticed(demo_videos, tmp_path):
    listing = ucf101.list_clips(demo_videos)
    prepare_in_process(listing, demo_videos, str(tmp_path))
    settings = tasks_lib.Settings(demo_videos, str(tmp_path), decoding.Recipe(16))
    tasks = tasks_lib.plan(listing, num_shards=4, seed=0)
    os.remove(tmp_path / tasks[2].file)
    with pytest.raises(errors.UserError, match="the runner lost work"):
        receipts.finish_job(listing, tasks, settings, 0.5, {})


def test_ucf101_flat_files_dos_line_ends_and_the_odd_spelling(tmp_path):
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_bytes(b"1 Archery\r\n2 HandstandPushups\r\n")
    (lists / "trainlist01.txt").write_bytes(
        b"HandstandPushups/v_HandStandPushups_g08_c01.avi 2\r\n"
        b"Archery/v_Archery_g08_c02.avi 1\r\n"
    )
    (lists / "testlist01.txt").write_bytes(b"Archery/v_Archery_g01_c01.avi\r\n")
    (tmp_path / "v_Archery_g08_c02.avi").touch()
    listing = ucf101.list_clips(str(tmp_path))
    assert listing.class_names == ["Archery", "HandstandPushups"]
    assert listing.clips == [
        sources.Clip(
            "HandstandPushups/v_HandStandPushups_g08_c01.avi",
            1,
            "v_HandStandPushups_g08_c01",
            "train",
        ),
        sources.Clip("v_Archery_g08_c02.avi", 0, "v_Archery_g08_c02", "train"),
        sources.Clip("Archery/v_Archery_g01_c01.avi", 0, "v_Archery_g01_c01", "test"),
    ]


def test_a_folder_has_classes_or_none_but_not_both(tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "class").mkdir()
    listing = folder.list_clips(str(tmp_path))
    assert listing == sources.Listing(
        ["video"], [sources.Clip("a.mp4", 0, "a.mp4", "train")]
    )
    (tmp_path / "class" / "b.mp4").touch()
    with pytest.raises(errors.UserError, match=r"loose clips, such as 'a.mp4'"):
        folder.list_clips(str(tmp_path))
    (tmp_path / "a.mp4").rename(tmp_path / "class" / "a.mp4")
    assert folder.list_clips(str(tmp_path)).class_names == ["class"]


def test_missing_lists_are_named(tmp_path):
    with pytest.raises(errors.UserError, match=r"classInd\.txt is missing"):
        ucf101.list_clips(str(tmp_path))


def test_names_that_are_no_text_are_prepared_like_others(demo_videos, tmp_path):
    source = next((pathlib.Path(demo_videos) / "RoundCircle").glob("*.avi"))
    videos = os.fsencode(tmp_path / "videos")
    for name in (b"two\nlines", b"no \xff utf-8", b"\x1b[31m"):
        os.makedirs(os.path.join(videos, name))
        shutil.copy(source, os.path.join(videos, name, b"clip.avi"))
    listing = folder.list_clips(str(tmp_path / "videos"))
    assert [len(name) for name in listing.class_names] == [5, 10, 9]
    shards = str(tmp_path / "shards")
    prepare_in_process(listing, str(tmp_path / "videos"), shards)
    manifest = manifest_lib.load(shards)
    assert manifest.class_names == listing.class_names
    rejected = [json.loads(line) for line in open(f"{shards}/rejected.jsonl")]
    assert rejected == [
        {"path": "no \udcff utf-8/clip.avi", "reason": "file name is not UTF-8"}
    ]
    assert manifest.num_clips("train") == 2


def test_http_cannot_be_listed(tmp_path):
    result = run("--input=http://127.0.0.1/videos", f"--output={tmp_path}")
    assert result.returncode == 1 and "cannot be listed" in result.stderr
