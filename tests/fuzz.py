"""Reads mutations of a small file; ends with 0 if each is read or refused.

  PYTHONPATH=. python -P tests/fuzz.py READER FOLDER COUNT

tests/test_fuzz.py runs it for each reader, in a process of its own.
"""

import json
import os
import random
import resource
import shutil
import sys

import tf_dvdgan  # noqa: F401

# isort: split
import numpy as np
import tensorflow as tf
from PIL import Image

from data_prep.sources import csv_file
from tf_dvdgan import (
    config,
    demo_videos,
    errors,
    graph_check,
    pretrained,
    run_directory,
)
from tf_dvdgan.data import (
    clip_files,
    clip_listing,
    inspection,
    manifest,
    record_index,
    records,
    video_io,
    video_process,
    video_reader,
    windows,
)
from tf_dvdgan.evaluation.features import preprocessing
from tf_dvdgan.evaluation.features.networks import weight_formats
from tf_dvdgan.models import resolved
from tf_dvdgan.training import checkpoints

MAX_BYTES = 1 << 30
WINDOW = windows.Window(4, 16, 1)


def frames() -> np.ndarray:
    return demo_videos.render("shapes", 0, (32, 48), [0, 0, 3])[:8]


def video(suffix):
    def make(path):
        video_io.write_video(path + suffix, frames())
        return path + suffix

    return make, lambda path: list(video_reader.VideoReader(path))


def webp(path):
    first, *rest = map(Image.fromarray, frames())
    first.save(path + ".webp", save_all=True, append_images=rest, duration=40)
    return path + ".webp"


def image(path):
    with open(path + ".png", "wb") as file:
        file.write(video_io.encode_png(frames()[0], "a comment"))
    return path + ".png"


def array(path):
    np.save(path + ".npy", frames())
    return path + ".npy"


def read_array(path):
    for clip in clip_listing.list_clips(path).clips:
        reader = video_process.Reader()  # starts no child for an array
        clip_files.read(os.path.dirname(path), clip, WINDOW, reader)


def shard(path):
    with tf.io.TFRecordWriter(path + ".tfrecord") as writer:
        for number in range(4):
            images = [video_io.encode_png(frame) for frame in frames()]
            writer.write(
                records.serialize(
                    images,
                    video_id=str(number),
                    label=0,
                    class_name="a",
                    fps=25.0,
                    height=32,
                    width=48,
                    source="source",
                )
            )
    return path + ".tfrecord"


def read_shard(path):
    inspection.Report(["a"]).add_shard(path, 4, all_frames=True)


def manifest_file(path):
    folder = path + "_shards"
    os.makedirs(folder, exist_ok=True)
    of_split = [manifest.Shard("train-0", 4, 5000, [2, 2], 8)]
    found = manifest.Manifest("folder", ["a", "b"], 16, {"train": of_split}, {}, {})
    found.save(folder)
    return f"{folder}/{manifest.FILE_NAME}"


def read_manifest(path):
    found = manifest.load(os.path.dirname(path))
    for split in found.splits:
        found.class_counts(split)


def index(path):
    arrays = np.arange(4), np.zeros(4, np.int32)
    folder = path + "_index"
    record_index.save(folder, {"train": record_index.Entries(*arrays)})
    return f"{folder}/{record_index.FILE_NAME}"


def read_index(path):
    record_index._read_saved(os.path.dirname(path), "train")


def gin(path):
    os.makedirs(path + "_run", exist_ok=True)
    config.load(["demo.gin"])
    import gin as gin_lib

    run_directory.RunDirectory(path + "_run").write_config(gin_lib.config_str())
    return path + "_run/config.gin"


def read_gin(path):
    with config.isolated():
        config.load_run(os.path.dirname(path))


def scores(path):
    for step in range(3):
        run_directory.add_row(path + "/scores.jsonl", {"step": step, "scores": {}})
    return path + "/scores.jsonl"


def read_scores(path):
    run_directory.RunDirectory(os.path.dirname(path)).read_scores()


def checkpoint_list(path):
    folder = f"{path}_of_run/checkpoints"
    os.makedirs(folder, exist_ok=True)
    tf.train.Checkpoint(a=tf.Variable(1.0)).write(f"{folder}/step-3")
    with open(f"{folder}/checkpoint", "w") as file:
        file.write(
            'model_checkpoint_path: "step-3"\nall_model_checkpoint_paths: "step-3"\n'
        )
    return f"{folder}/checkpoint"


def read_checkpoint_list(path):
    run = os.path.dirname(os.path.dirname(path))
    if checkpoints.steps(run) != [3]:
        raise AssertionError("The list decides which checkpoints there are.")


def h5_weights(path):
    import h5py

    with h5py.File(path + ".h5", "w") as file:
        file.create_dataset("layer/kernel", data=np.zeros([8, 8], np.float32))
    return path + ".h5"


def saved_model(path):
    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
        def double(self, x):
            return 2 * x

    tf.saved_model.save(Module(), path + "_model")
    return path + "_model/saved_model.pb"


def model(path):
    folder = os.path.dirname(path)
    shutil.copy(
        os.path.join(pretrained.path_of(pretrained.DEFAULT), "model.json"), folder
    )
    return os.path.join(folder, "model.json")


def read_model(path):
    found = run_directory.RunDirectory(os.path.dirname(path)).read_model()
    if found is not None:
        resolved.build(found, list("abcdefghi"))
        resolved.window_of(found)


def generator(path):
    run_directory.RunDirectory(path).write_generator({"a": np.zeros([3, 4])}, 7)
    return os.path.join(path, run_directory.GENERATOR)


def read_generator(path):
    run_directory.RunDirectory(os.path.dirname(path)).read_generator()


def mean(path):
    np.savez(path + ".npz", mean=np.zeros([3, 16, 128, 171], np.uint8))
    return path + ".npz"


def table(path):
    os.makedirs(path + "_table")
    with open(path + "_table/clips.csv", "w", encoding="utf-8") as file:
        file.write("path,label,split\na/b.mp4,run,train\n'c d.mp4',jump,test\n")
    return path + "_table/clips.csv"


def state_dict(path):
    import torch

    torch.save({"a.weight": torch.zeros(3, 4)}, path + ".pt")
    return path + ".pt"


READERS = {
    "mp4": video(".mp4"),
    "avi": video(".avi"),
    "gif": video(".gif"),
    "webp": (webp, lambda path: list(video_reader.VideoReader(path))),
    "image": (image, video_io.read_image),
    "npy": (array, read_array),
    "tfrecord": (shard, read_shard),
    "manifest": (manifest_file, read_manifest),
    "index": (index, read_index),
    "gin": (gin, read_gin),
    "scores": (scores, read_scores),
    "checkpoint_list": (checkpoint_list, read_checkpoint_list),
    "h5": (h5_weights, weight_formats.read),
    "model": (model, read_model),
    "generator": (generator, read_generator),
    "mean": (mean, preprocessing.load_c3d_mean),
    "table": (table, lambda path: csv_file.list_clips(os.path.dirname(path))),
    "state_dict": (state_dict, weight_formats.read),
    "saved_model": (saved_model, lambda path: graph_check.check(os.path.dirname(path))),
}


def mutated(data: bytes, draw: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        place = draw.randrange(len(found) + 1)
        kind = draw.randrange(5)
        if kind == 0:
            del found[place:]
        elif kind == 1:
            found[place:place] = draw.randbytes(draw.randrange(1, 9))
        elif kind == 2:
            del found[place : place + draw.randrange(1, 9)]
        elif kind == 3:
            number = draw.choice((0, 1, 2**15, 2**31 - 1, 2**31, 2**40, 2**63 - 1))
            size = draw.choice((4, 8))
            order = draw.choice(("little", "big"))
            value = (number % 2 ** (8 * size)).to_bytes(size, order)
            found[place : place + size] = value
        elif place < len(found):
            found[place] ^= 1 << draw.randrange(8)
    return bytes(found)


def main(name: str, folder: str, count: str) -> None:
    make, read = READERS[name]
    path = make(os.path.join(folder, "original"))
    with open(path, "rb") as file:
        original = file.read()
    read(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    draw = random.Random(0)
    refused = 0
    for number in range(int(count)):
        data = mutated(original, draw)
        with open(path, "wb") as file:
            file.write(data)
        try:
            read(path)
        except (errors.UserError, video_io.VideoError):
            refused += 1
        except BaseException as error:
            with open(os.path.join(folder, "found"), "wb") as file:
                file.write(data)
            raise AssertionError(f"{name}, mutation {number}") from error
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    print(json.dumps({"refused": refused, "grown": grown}))


if __name__ == "__main__":
    main(*sys.argv[1:])
