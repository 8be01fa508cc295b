"""The reason in an error of TensorFlow, without what is around it."""

import pytest
import tensorflow as tf

from tf_dvdgan import errors


@tf.function
def check(x):
    tf.debugging.Assert(x > 0, ["x must be above 0"])
    return tf.sqrt(x)


def test_the_reason_of_an_assertion_in_a_graph():
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        check(tf.constant(-1.0))
    assert errors.reason_of(raised.value) == "x must be above 0"


def test_the_reason_of_an_operation():
    with pytest.raises(tf.errors.NotFoundError) as raised:
        tf.io.read_file("no such file")
    expected = "no such file; No such file or directory"
    assert errors.reason_of(raised.value) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [(OSError(28, "full"), "[Errno 28] full"), (ValueError(), "ValueError")],
)
def test_the_reason_of_other_errors(error, expected):
    assert errors.reason_of(error) == expected
