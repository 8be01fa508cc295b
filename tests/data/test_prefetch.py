"""Work done ahead: in order, no further than asked for, and ended with its consumer."""

import threading
import time

import pytest

from tf_dvdgan.data import prefetch


def test_results_come_in_order_whatever_takes_longest():
    def slow_first(x: int) -> int:
        time.sleep(0.05 if x == 0 else 0.0)
        return 2 * x

    assert [*prefetch.map_ahead(slow_first, range(20), 3)] == [*range(0, 40, 2)]
    assert [*prefetch.map_ahead(slow_first, [], 3)] == []


def test_no_more_is_made_ahead_than_was_asked_for():
    made = []
    results = prefetch.map_ahead(made.append, range(100), 2, num_ahead=5)
    next(results)
    time.sleep(0.1)
    assert len(made) == 6  # the first one, and five while nobody asks


def test_what_waits_is_not_begun_once_nobody_asks():
    made, go = [], threading.Event()

    def work(x: int) -> int:
        made.append(x)
        if x:
            go.wait(10)
        return x

    results = prefetch.map_ahead(work, range(100), 2)
    assert next(results) == 0
    results.close()
    go.set()
    time.sleep(0.1)
    assert len(made) <= 3


def test_an_error_is_raised_at_its_item():
    def fail(x: int) -> int:
        if x == 2:
            raise ValueError("third")
        return x

    results = prefetch.map_ahead(fail, range(5), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="third"):
        next(results)


def test_items_of_an_iterator_are_all_given_none_among_them():
    assert [*prefetch.ahead(iter([1, None, 3]))] == [1, None, 3]
    assert [*prefetch.ahead([])] == []


def test_an_iterators_error_is_raised_at_its_item():
    def items():
        yield 1
        raise KeyError("gone")

    found = prefetch.ahead(items())
    assert next(found) == 1
    with pytest.raises(KeyError):
        next(found)
