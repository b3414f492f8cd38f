"""Processes that drive one case at a time and may hang, crash or eat memory without harm.

Two kinds with the same three methods: `LocalWorker` is a process on this machine, `RayWorker` an
actor on a Ray cluster. `run_all` keeps them busy and turns whatever goes wrong with one into a
reason, so that every case ends one way or the other.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any, Generic, Protocol, TypeVar

from roadloop.errors import RoadloopError

Task = TypeVar("Task")
Answer = TypeVar("Answer")
Given = TypeVar("Given", contravariant=True)
GivenBack = TypeVar("GivenBack", covariant=True)

GIB = 2**30
TOO_MUCH_MEMORY = 86
"""exit status of a worker that stopped itself"""
MEMORY_NEEDED = 1.5 * GIB
"""bytes a worker is counted with when their number is chosen"""
POLL = 0.02
"""s between two looks at the workers"""


class Died(Exception):
    """The worker's process ended with its task undone; says why."""


class Worker(Protocol[Given, GivenBack]):
    """Something that answers one task at a time."""

    def give(self, task: Given) -> None:
        """Start on a task."""
        ...

    def answer(self) -> GivenBack | None:
        """The answer, None while there is none yet. Raises Died."""
        ...

    def kill(self) -> None:
        """Stop whatever it is doing; the next ``give`` starts afresh."""
        ...


def run_all(
    tasks: Sequence[Task],
    workers: Sequence[Worker[Task, Answer]],
    timeout: float,
    on_end: Callable[[Task, Answer | str, float], None],
) -> None:
    """Every task on some worker; ``on_end(task, answer or why there is none, seconds)``."""
    waiting = deque(tasks)
    idle, busy = list(workers), {}
    try:
        while waiting or busy:
            while waiting and idle:
                worker = idle.pop()
                task = waiting.popleft()
                worker.give(task)
                busy[id(worker)] = (worker, task, time.monotonic())
            time.sleep(POLL)
            for worker, task, since in list(busy.values()):
                seconds = time.monotonic() - since
                try:
                    answer: Any = worker.answer()
                except Died as error:
                    answer = str(error)
                if answer is None and seconds > timeout:
                    worker.kill()
                    answer = f"took longer than {timeout:g} s (--timeout)"
                if answer is not None:
                    del busy[id(worker)]
                    idle.append(worker)
                    on_end(task, answer, seconds)
    finally:
        for worker in workers:
            worker.kill()


def choose_workers(asked: int | None) -> int:
    """``asked``, or one per core as long as there is memory for them."""
    if asked is not None:
        if asked < 1:
            raise RoadloopError(f"workers is {asked}; it must be 1 or more")
        return asked
    import psutil

    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    return max(1, min(cores, int(psutil.virtual_memory().available // MEMORY_NEEDED)))


def memory_limit(workers: int) -> float:
    """Bytes one of ``workers`` may take: its share of four fifths of what is free now."""
    import psutil

    return max(0.8 * psutil.virtual_memory().available / workers, MEMORY_NEEDED)


class LocalWorker(Generic[Task, Answer]):
    """A process of its own that is started with its first task.

    Args:
        work: what it does with a task; must be picklable.
        memory: bytes it may take before it stops itself.
    """

    def __init__(self, work: Callable[[Task], Answer], memory: float) -> None:
        self._work = work
        self._memory = memory
        self._process: Any = None
        self._connection: Any = None

    def give(self, task: Task) -> None:
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(
                target=_serve, args=(theirs, self._work, self._memory), daemon=True
            )
            with _one_thread():
                self._process.start()
            theirs.close()
        # where it died meanwhile, `answer` says so
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send(task)

    def answer(self) -> Answer | None:
        try:
            if self._connection.poll():
                return self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            status = self._process.exitcode
            self.kill()
            raise Died(_why(status, self._memory)) from None
        return None

    def kill(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.join()
        self._connection.close()
        self._process = None


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Children started inside use one thread each for linear algebra: the workers are many."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Any, work: Callable[[Any], Any], memory: float) -> None:
    """What a worker process does until its parent hangs up or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    threading.Thread(target=watch_memory, args=(memory,), daemon=True).start()
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(work(task))


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def watch_memory(limit: float) -> None:
    """End this process once it holds more than ``limit`` bytes; runs in a thread of its own."""
    import psutil

    process = psutil.Process()
    while process.memory_info().rss <= limit:
        time.sleep(0.05)
    os._exit(TOO_MUCH_MEMORY)


def _why(status: int | None, memory: float) -> str:
    if status == TOO_MUCH_MEMORY:
        return f"took more than {memory / GIB:.1f} GiB of memory (--memory)"
    if status is not None and status < 0:
        name = signal.Signals(-status).name
        hint = ", perhaps for lack of memory" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return f"its process ended with status {status}"


class RayWorker(Generic[Task, Answer]):
    """An actor on the Ray cluster this process is connected to; arguments as `LocalWorker`."""

    def __init__(self, work: Callable[[Task], Answer], memory: float) -> None:
        self._work = work
        self._memory = memory
        self._actor: Any = None
        self._future: Any = None

    def give(self, task: Task) -> None:
        import ray

        if self._actor is None:
            environment = {"env_vars": {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}}
            actor = ray.remote(num_cpus=1, max_restarts=0, runtime_env=environment)(_Actor)
            self._actor = actor.remote(self._work, self._memory)
        self._future = self._actor.answer.remote(task)

    def answer(self) -> Answer | None:
        import ray
        from ray.exceptions import RayActorError, RayError

        ready, _ = ray.wait([self._future], timeout=0)
        if not ready:
            return None
        try:
            return ray.get(ready[0])
        except RayActorError:
            self.kill()
            raise Died(
                f"its Ray actor died: it crashed, or took more than {self._memory / GIB:.1f} GiB "
                "of memory (--memory)"
            ) from None
        except RayError as error:
            self.kill()
            raise Died(f"Ray: {' '.join(str(error).split())[:200]}") from None

    def kill(self) -> None:
        import ray

        if self._actor is not None:
            ray.kill(self._actor)
            self._actor = None


class _Actor:
    def __init__(self, work: Callable[[Any], Any], memory: float) -> None:
        threading.Thread(target=watch_memory, args=(memory,), daemon=True).start()
        self._work = work

    def answer(self, task: Any) -> Any:
        return self._work(task)


def connect_ray(address: str, workers: int | None) -> int:
    """Join the Ray cluster at ``address`` ("local" starts one here); how many workers to use.

    Raises RoadloopError where Ray is not installed or nobody answers.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise RoadloopError("--ray needs the extra `ray`: pip install 'roadloop[ray]'") from None
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address == "local":
        count = choose_workers(workers)
        ray.init("local", num_cpus=count, include_dashboard=False, **quiet)
        return count
    try:
        ray.init(address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        raise RoadloopError(f"no Ray cluster answers at {address}: {why}") from None
    return workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
