"""Jobs that do not need each other, at once: each in a process of its own, on a core of its own.

MLX works with two threads that wait for each other most of the time. On two cores they are hardly
faster than on one, so a process for every core, held to it, gets nearly as many times more done as
there are cores.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from multiprocessing.connection import wait
from pathlib import Path

from machine.interrupts import deferred_interrupt

BLINK = 0.1  # seconds between looks at whether Ctrl-C was pressed
TOLD, DONE, FAILED = "told", "done", "failed"  # what a process can say


class ProcessError(RuntimeError):
    """A process failed, or was ended by someone else, before its job was done."""


def cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def at_once(
    function: Callable, jobs: list, count: int, hear: Callable[[int, object], None]
) -> list:
    """The results of function(job, tell) for all jobs, begun in their order, `count` at a time.

    A job is begun when the one before has told something or is done. What jobs make at their
    beginning for all later ones, as MLX makes kernels, is so never made by two at the same time.

    Args:
        function: one that `pickle` finds by its name. Nothing that it prints is seen.
        hear: called with the number of a job and what its function told.

    Raises:
        KeyboardInterrupt: after Ctrl-C, which is passed on to every process. The first lets a
            function that defers it finish, the second ends all at once.
        ProcessError: where a process fails or dies; the others are ended as by the first Ctrl-C.

    To be called in the main thread.
    """
    with deferred_interrupt() as pressed, closing(_Crew(function, jobs, count)) as crew:
        while crew.workers:
            crew.give()
            crew.listen(hear)
            if pressed or crew.trouble:
                crew.stop()
    if pressed:
        raise KeyboardInterrupt
    if crew.trouble:
        raise ProcessError(crew.trouble)
    return crew.results


class _Crew:
    """Processes, and the jobs that they are given."""

    def __init__(self, function: Callable, jobs: list, count: int):
        self.waiting, self.results = deque(enumerate(jobs)), [None] * len(jobs)
        self.cores, self.trouble, self.stopped = cores(), "", False
        self.workers: list[_Worker] = []
        count = min(count, len(jobs))
        self.is_crowded = count >= len(self.cores)
        # ignoring Ctrl-C is inherited, so that it disturbs no process before that listens to us
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for _ in range(count):
                self.workers.append(_Worker(function))
        except BaseException:
            self.close()
            raise
        finally:
            signal.signal(signal.SIGINT, handler)

    def give(self):
        """Begin what can be begun, and end the processes for which nothing is left."""
        for place, worker in enumerate(self.workers[:]):
            if worker.job is not None:
                continue
            if not self.waiting:
                self._end(worker)
            elif worker.listens and not any(other.is_silent for other in self.workers):
                if self.is_crowded:
                    worker.hold([self.cores[place % len(self.cores)]])
                worker.begin(*self.waiting.popleft())

    def listen(self, hear: Callable[[int, object], None]):
        """Wait a moment for what processes have to say."""
        by_pipe = {worker.pipe: worker for worker in self.workers}
        for pipe in wait(list(by_pipe), BLINK):
            worker = by_pipe[pipe]
            kind, what = worker.news()
            if kind == TOLD:
                hear(worker.job, what)
            elif kind == DONE and worker.job is not None:
                self.results[worker.job], worker.job = what, None
            elif kind == FAILED:
                self.trouble = self.trouble or what
                self._end(worker)

    def stop(self):
        """Begin nothing more, and interrupt what was begun."""
        self.waiting.clear()
        for worker in [] if self.stopped else self.workers:
            worker.interrupt()
        self.stopped = True

    def close(self):
        """End all processes, whatever they do."""
        for worker in self.workers[:]:
            self._end(worker)

    def _end(self, worker: "_Worker"):
        """End a process. Those that are left may use its core."""
        worker.end()
        self.workers.remove(worker)
        for other in self.workers:
            other.hold(self.cores)


class _Worker:
    """A process that does one job after the other.

    Attributes:
        job: the number of the one that it has, or None.
        listens: whether it has begun, and can be given one.
        is_silent: whether it has told nothing of its job yet.
    """

    def __init__(self, function: Callable):
        self.job, self.listens, self.is_silent = None, False, False
        context = multiprocessing.get_context("spawn")  # a fork would have MLX without its threads
        self.pipe, its_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(its_end, function), daemon=True)
        self.process.start()
        its_end.close()

    def begin(self, number: int, job):
        self.job, self.is_silent = number, True
        with suppress(OSError):  # where it has died meanwhile, its news will say so
            self.pipe.send(job)

    def news(self) -> tuple:
        """What it says next: of what kind, and what."""
        self.listens, self.is_silent = True, False
        try:
            kind, what = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            return FAILED, _ending(self.process.exitcode)
        return kind, what

    def hold(self, cores: list[int]):
        """Keep all its threads, and all that they will begin, on these cores, where one can."""
        with suppress(OSError):
            for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), cores)

    def interrupt(self):
        os.kill(self.process.pid, signal.SIGINT)

    def end(self):
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe, function: Callable):
    """What a process does."""
    os.setpgrp()  # so that a terminal's Ctrl-C goes to the parent alone, which passes it on
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nowhere, output)

    def tell(what):
        try:
            pipe.send((TOLD, what))
        except OSError:  # the parent is gone
            signal.raise_signal(signal.SIGINT)

    with suppress(KeyboardInterrupt, EOFError, OSError):
        pipe.send((DONE, None))
        while True:
            job = pipe.recv()
            try:
                news = DONE, function(job, tell)
            except Exception as error:
                news = FAILED, f"failed: {type(error).__name__}: {error}"
            pipe.send(news)


def _ending(code: int) -> str:
    """How a process ended."""
    if code >= 0:
        return f"ended with exit code {code}"
    why = ", perhaps for want of memory" if -code == signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{why}"
