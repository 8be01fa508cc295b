"""Near-duplicates are copies in other encodings and sizes, and nothing else."""

import itertools
import json
import os
import random

import cv2
import numpy as np
import pytest
from conftest import IN_PROCESS

from data_prep import duplicates, job
from tests.data_prep.fixtures import scene
from tf_dvdgan.data import manifest as manifest_lib
from tf_dvdgan.data import video_io, video_reader


def hashed(name, video, split="train"):
    taken = [video[t] for t in duplicates.HASHED_FRAMES]
    return duplicates.HashedClip(name, split, tuple(map(duplicates.hash_of, taken)))


def test_copies_are_found_among_others(tmp_path):
    clips = [hashed(f"{seed:03}", scene(seed)) for seed in range(100)]
    assert not duplicates.find(clips)
    for seed, (suffix, size) in enumerate(
        itertools.product((".mp4", ".avi"), ((96, 128), (48, 64)))
    ):
        video = np.stack([cv2.resize(frame, size[::-1]) for frame in scene(seed)])
        path = str(tmp_path / f"{seed}{suffix}")
        video_io.write_video(path, video)
        copy = np.stack(list(video_reader.VideoReader(path)))
        clips.append(hashed(f"copy{seed}", copy, "test"))
    random.Random(0).shuffle(clips)
    pairs = duplicates.find(clips)
    names = [(first.name, second.name) for first, second in pairs]
    assert names == [(f"{seed:03}", f"copy{seed}") for seed in range(4)]
    assert set(duplicates.to_drop(pairs)) == {f"{seed:03}" for seed in range(4)}
    assert len(list(duplicates.across_splits(pairs))) == 4


def test_pairs_are_those_of_a_plain_search():
    draw = random.Random(0)
    first = [draw.getrandbits(64) for _ in range(60)]
    clips = [
        duplicates.HashedClip(f"{n:03}", "train", (h,)) for n, h in enumerate(first)
    ]
    for number in range(200):
        bits = draw.sample(range(64), draw.randrange(7))
        changed = draw.choice(first) ^ sum(1 << bit for bit in bits)
        clips.append(duplicates.HashedClip(f"x{number:03}", "test", (changed,)))
    plain = [
        (a.name, b.name)
        for a, b in itertools.combinations(sorted(clips, key=lambda c: c.name), 2)
        if bin(a.hashes[0] ^ b.hashes[0]).count("1") <= 3
    ]
    found = [(a.name, b.name) for a, b in duplicates.find(clips)]
    assert found == sorted(plain) and len(found) > 50
    left = {clip.name for clip in clips} - set(
        duplicates.to_drop(duplicates.find(clips))
    )
    assert not [pair for pair in plain if set(pair) <= left]


@pytest.fixture
def videos(tmp_path):
    for split, seeds in (("train", range(6)), ("test", range(4, 8))):
        for seed in seeds:
            path = (
                tmp_path
                / "videos"
                / split
                / "a"
                / f"{seed}.{'mp4' if split == 'train' else 'avi'}"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            video_io.write_video(str(path), scene(seed))
    return str(tmp_path / "videos")


def test_preparation_lists_them_and_drops_them_on_request(videos, tmp_path, capsys):
    shards = str(tmp_path / "shards")
    settings = {"resolution": 32, "num_shards": 3, "beam_flags": IN_PROCESS}
    outcome = job.prepare(videos, shards, **settings)
    assert outcome.manifest.num_clips("train") == 6
    printed = capsys.readouterr().out
    assert "2 clips of one split are nearly the same as clips of another" in printed
    with open(f"{shards}/duplicates.jsonl") as file:
        rows = [json.loads(line) for line in file]
    assert rows == [
        {"clip": f"test/a/{n}.avi", "split": "test"}
        | {"other": f"train/a/{n}.mp4", "other_split": "train"}
        for n in (4, 5)
    ]
    outcome = job.prepare(videos, shards, drop_duplicates=True, **settings)
    assert outcome.manifest.num_clips("train") == 4
    assert outcome.manifest.num_clips("test") == 4
    printed = capsys.readouterr().out
    assert "2 near-duplicates were dropped" in printed
    again = job.prepare(videos, shards, drop_duplicates=True, **settings)
    assert again.manifest == manifest_lib.load(shards) == outcome.manifest
    os.remove(f"{videos}/test/a/4.avi")  # what was dropped for it comes back
    outcome = job.prepare(videos, shards, drop_duplicates=True, **settings)
    assert outcome.manifest.num_clips("train") == 5
    assert outcome.manifest.num_clips("test") == 3
