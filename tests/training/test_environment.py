"""What is written down about how a run was started, and what is not."""

import subprocess

import pytest
import tensorflow as tf

from tf_dvdgan.training import environment


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["python", "-m", "x", "--a=b"], "python -m x --a=b"),
        (["--gin_param=CH = 3"], "'--gin_param=CH = 3'"),
        (["--hf_token=abc"], "'--hf_token=***'"),
        (["--db-password=a b"], "'--db-password=***'"),
        (["--data_dir=s3://me:pass@bucket/x"], "'--data_dir=s3://***@bucket/x'"),
        (["https://h/x?X-Signature=1&y=2"], "'https://h/x?***'"),
        (["--step=3", "s3://bucket/a@b"], "--step=3 s3://bucket/a@b"),
    ],
)
def test_a_command_is_shown_without_secrets(words, shown):
    assert environment.command_line(words) == shown


def test_the_commit_is_that_of_the_checkout():
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    found = environment.commit()
    assert found is None or found.removesuffix("-dirty") == head


def test_everything_is_reported():
    metadata = environment.describe(tf.distribute.get_strategy())
    assert metadata["tensorflow"] == tf.__version__
    assert "CPU" in metadata["devices"] and metadata["replicas"] == "1"
    assert all(metadata.values())
