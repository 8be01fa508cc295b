"""Where files may lie. What needs a server is in tests/test_object_stores.py."""

import os
import pathlib
import socket
import subprocess
import sys

import pytest

from tf_dvdgan import errors
from tf_dvdgan.data import files, locks


def test_a_file_is_whole_or_the_old_one(tmp_path):
    path = tmp_path / "file"
    files.atomic_write(str(path), "old")
    with pytest.raises(KeyError), files.atomic_path(str(path)) as place:
        with open(place, "w") as file:
            file.write("ne")
        raise KeyError("killed")
    assert path.read_text() == "old"
    files.atomic_write(str(path), b"new")
    assert path.read_text() == "new"


def test_on_an_object_store_a_file_is_written_directly():
    with files.atomic_path("s3://bucket/file") as place:
        assert place == "s3://bucket/file"


@pytest.mark.parametrize(
    "path",
    [
        "s3://KEY:SECRET@bucket/x",
        "s3://SECRET@bucket/x",
        "https://user:SECRET@host/x",
        "https://SECRET@host/x",
        "https://host/x?signature=SECRET",
        "hdfs://user:SECRET@host/x",
    ],
)
def test_keys_in_paths_are_refused_and_not_repeated(path):
    with pytest.raises(errors.UserError, match=r"keys come from|may be a key") as error:
        files.register_filesystems(path)
    assert "SECRET" not in str(error.value)


def test_nothing_is_written_by_http():
    with pytest.raises(errors.UserError, match="http is read-only"):
        files.register_filesystems("https://host/x", writing=True)


@pytest.mark.parametrize("path", ["https://host/videos", "http://host"])
def test_http_has_no_folders(path):
    for function in (files.list_dir, files.is_folder):
        with pytest.raises(errors.UserError, match="cannot be listed"):
            function(path)


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:9000", "ftp://host", "http://user:SECRET@host", "http://"]
)
def test_an_endpoint_that_would_hang_is_refused(monkeypatch, endpoint):
    monkeypatch.setenv("S3_ENDPOINT", endpoint)
    with pytest.raises(errors.UserError, match="as in http://") as error:
        files.register_filesystems("s3://bucket/x")
    assert "SECRET" not in str(error.value)


def test_an_endpoint_where_nobody_listens_is_named(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("S3_ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(errors.UserError, match=f"Nothing answers at .*{port}"):
        files.register_filesystems("s3://bucket/x")


def test_local_paths_need_nothing(tmp_path):
    files.register_filesystems("/a", "b/c", "s3:/odd", writing=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    assert files.list_dir(str(tmp_path)) == ["dangling", "file", "folder"]
    assert files.list_dir(str(tmp_path / "none")) == []
    assert files.missing_names(str(tmp_path), ["x", "file"]) == ["x"]
    assert next(files.walk(str(tmp_path)))[1] == ["folder"]
    with files.local_copy(str(tmp_path / "file")) as path:
        assert path == str(tmp_path / "file")
    assert files.absolute("x") == os.path.join(os.getcwd(), "x")
    assert files.absolute("gs://b/x") == "gs://b/x"


def test_a_path_is_text_or_an_object(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    for path in ("~/a", pathlib.Path("~/a"), "/home/me/a"):
        assert files.as_text(path) == "/home/me/a"
    assert files.as_text("gs://b/~") == "gs://b/~"
    assert files.as_text(pathlib.Path("a/s3:/odd")) == "a/s3:/odd"
    for path in (None, 3, b"/a", ["/a"]):
        with pytest.raises(errors.UserError, match="must be text or a"):
            files.as_text(path)
    with pytest.raises(errors.UserError, match="pass them as text"):
        files.as_text(pathlib.Path("gs://bucket/a"))


def test_an_empty_path_is_not_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for as_folder in (False, True):
        with pytest.raises(errors.UserError, match="path to write to is empty"):
            files.check_writable("", as_folder)
    assert not os.listdir()


HOLD = """
import sys, time
from tf_dvdgan.data import locks
with locks.locked(sys.argv[1], "job"):
    print("held", flush=True)
    time.sleep(1000)
"""


def test_a_lock_has_one_holder_and_none_after_it_was_killed(tmp_path):
    path = str(tmp_path / "new" / "a.lock")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    with pytest.raises(errors.UserError, match=f"process {process.pid} on"):
        with locks.locked(path, "job"):
            pass
    process.kill()
    process.communicate()
    assert os.path.exists(path)  # and holds nobody up
    with locks.locked(path, "job"):
        with pytest.raises(errors.UserError, match=r"Another job is using .*/new"):
            with locks.locked(path, "job"):
                pass
    assert not os.path.exists(path)


def test_a_lock_leaves_no_empty_folders(tmp_path):
    with locks.locked(str(tmp_path / "a" / "b" / "c.lock"), "job"):
        pass
    assert not os.listdir(tmp_path)
    with locks.locked(str(tmp_path / "a" / "b" / "c.lock"), "job"):
        (tmp_path / "a" / "result").touch()
    assert os.listdir(tmp_path / "a") == ["result"]


def test_an_object_store_has_no_locks_and_says_so(capsys):
    with locks.locked("gs://bucket/run/a.lock", "job"):
        pass
    assert "gs://bucket/run cannot be locked" in capsys.readouterr().out
