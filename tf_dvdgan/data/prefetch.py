"""Computes items ahead in threads while earlier ones are used."""

import collections
import concurrent.futures
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def map_ahead(
    function: Callable[[T], U],
    arguments: Iterable[T],
    num_threads: int,
    num_ahead: int | None = None,
) -> Iterator[U]:
    """Calls a function on each argument, in threads.

    Args:
      function: the function.
      arguments: its arguments; read only as calls start.
      num_threads: number of threads.
      num_ahead: number of results that are computed ahead; by default two per thread.

    Yields:
      The results, in the order of the arguments.
    """
    executor = concurrent.futures.ThreadPoolExecutor(num_threads)
    left = iter(arguments)
    num_ahead = num_ahead or 2 * num_threads
    waiting = collections.deque(
        executor.submit(function, x) for x in itertools.islice(left, num_ahead)
    )
    try:
        while waiting:
            result = waiting.popleft().result()
            for argument in itertools.islice(left, 1):
                waiting.append(executor.submit(function, argument))
            yield result
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def ahead(items: Iterable[T], num_ahead: int = 2) -> Iterator[T]:
    """Computes a few items of an iterable ahead, in one thread.

    Args:
      items: the iterable.
      num_ahead: number of items that are computed ahead.

    Yields:
      The items.
    """
    iterator, calls = iter(items), itertools.repeat(None)

    def next_item(_: None) -> list[T]:
        return [*itertools.islice(iterator, 1)]  # empty at the end

    for item in map_ahead(next_item, calls, 1, num_ahead):
        if not item:
            return
        yield item[0]
