"""Files that are whole or not there at all."""

import os

import tensorflow as tf


def write_whole(path: str, data: str | bytes) -> None:
    """Writes a file beside its place, then puts it there in one step."""
    unfinished = f"{path}.unfinished-{os.getpid()}"
    with tf.io.gfile.GFile(unfinished, "wb" if isinstance(data, bytes) else "w") as f:
        f.write(data)
    tf.io.gfile.rename(unfinished, path, overwrite=True)
