"""Work on the units of a source in processes, with few units in flight, so that memory has a bound."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

Made = TypeVar("Made")


class Workers:
    """A pool of processes; with one worker the work is done in this process.

    Processes are spawned, not forked: Arrow and TensorFlow hold threads that a fork would lose.
    """

    def __init__(self, count: int):
        self.count = count
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, mp_context=context) if count > 1 else None

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def each(self, function: Callable[..., Made], calls: Iterable[tuple[Any, ...]]) -> Iterator[Made]:
        """Yields `function(*call)` for each call, in their order."""
        if not self._pool:
            for call in calls:
                yield function(*call)
            return
        waiting: deque[Future[Made]] = deque()
        try:
            for call in calls:
                waiting.append(self._pool.submit(function, *call))
                if len(waiting) > self.count + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a worker process was killed; it probably ran out of memory; set data.workers: 1"
            ) from error
        finally:
            # Whoever cleans up after an error must not meet a worker that still writes.
            for future in waiting:
                future.cancel()
            wait(waiting)
