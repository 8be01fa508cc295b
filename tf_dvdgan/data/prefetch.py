"""Work that is done ahead, in threads, while its results are used."""

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
    """Calls a function of each argument; results come in order.

    Args:
      function: called in threads.
      arguments: read as far as calls are started.
      num_threads: how many run at a time.
      num_ahead: results that are made before they are asked for; by default two for
        each thread.

    Yields:
      The results.
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
    """Makes a few items of an iterable ahead, in one thread.

    Args:
      items: what is iterated over.
      num_ahead: items made before they are asked for.

    Yields:
      The items.
    """
    iterator, end = iter(items), object()
    calls = itertools.repeat(None)
    for item in map_ahead(lambda _: next(iterator, end), calls, 1, num_ahead):
        if item is end:
            return
        yield item
