"""Requests that arrive together are predicted together: one call for several rows costs little more than for one."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from kep.data.records import Rows


class FullError(Exception):
    """The queue holds as many rows as it may."""


@dataclass(frozen=True)
class _Item:
    rows: Rows
    result: "asyncio.Future[list[np.ndarray]]"


class Batcher:
    """A queue of requests in front of a model that predicts one batch at a time.

    While the model is busy, what arrives waits and becomes the next batch; an idle model waits no longer than `delay`
    for others to join the first.

    Args:
        predict: From rows to arrays whose first axis is the rows'. It is called in one thread of its own.
        most: Rows of a batch; no request may have more.
        delay: Seconds that the first request of a batch may wait for others.
        queue: Rows that may wait.
    """

    def __init__(self, predict: Callable[[Rows], list[np.ndarray]], most: int, delay: float, queue: int) -> None:
        self._predict, self._most, self._delay, self._limit = predict, most, delay, queue
        self._waiting: deque[_Item] = deque()
        self._arrived, self._full = asyncio.Event(), asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "model")
        self._worker: asyncio.Task[None] | None = None
        self.queued = 0
        """Rows that wait."""

    def start(self) -> None:
        """Starts taking batches; needs a running event loop."""
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Ends when the batch at work is done."""
        if self._worker is not None:
            self._worker.cancel()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)

    async def run(self, function: Callable[[], None]) -> None:
        """Calls a function in the model's thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def submit(self, rows: Rows) -> list[np.ndarray]:
        """Predictions of the rows, as `predict` gives them.

        Raises:
            FullError: Too many rows wait already.
        """
        if self.queued and self.queued + len(rows) > self._limit:
            raise FullError
        item = _Item(rows, asyncio.get_running_loop().create_future())
        self._waiting.append(item)
        self.queued += len(rows)
        self._arrived.set()
        if self.queued >= self._most:
            self._full.set()
        return await item.result

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            if self._delay and self.queued < self._most:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), self._delay)
            batch = self._take()
            if not batch:
                continue
            try:
                found = await loop.run_in_executor(self._thread, self._predict_all, batch)
            except Exception as error:
                for item in batch:
                    if not item.result.done():
                        item.result.set_exception(error)
                continue
            start = 0
            for item in batch:
                part = slice(start, start := start + len(item.rows))
                if not item.result.done():
                    item.result.set_result([array[part] for array in found])

    def _predict_all(self, batch: list[_Item]) -> list[np.ndarray]:
        return self._predict(Rows.concat([item.rows for item in batch]))

    def _take(self) -> list[_Item]:
        """The next batch; requests that nobody waits for any more are dropped."""
        batch, count = [], 0
        while self._waiting and count + len(self._waiting[0].rows) <= self._most:
            item = self._waiting.popleft()
            self.queued -= len(item.rows)
            if not item.result.done():
                batch.append(item)
                count += len(item.rows)
        if not self._waiting:
            self._arrived.clear()
        if self.queued < self._most:
            self._full.clear()
        return batch
