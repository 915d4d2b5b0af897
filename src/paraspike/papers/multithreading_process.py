"""A process that is started as the authors started theirs.

Our own runs tell OpenMP's threads to sleep and count one thread; a baseline in torch would then be half
as fast.
"""

import multiprocessing
import os
import threading
import time

from paraspike.errors import ReaderError
from paraspike.threads import as_others_start


def in_own_process(function, *arguments, **settings):
    """`function(*arguments, **settings)` in a new process, which ends with this one; all of it must pickle.

    Raises:
        ReaderError: the function failed, or its process ended by itself.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    job = (theirs, os.getpid(), function, arguments, settings)
    process = context.Process(target=_serve, args=job, daemon=True)
    with as_others_start():
        process.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError as error:
        raise ReaderError("its process ended by itself", function.__qualname__) from error
    finally:
        process.terminate()
        process.join(5)
        process.kill()
        process.join()
    if isinstance(answer, Exception):
        raise ReaderError(f"{type(answer).__name__}: {answer}", function.__qualname__) from answer
    return answer


def _serve(pipe, parent, function, arguments, settings):
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        pipe.send(function(*arguments, **settings))
    except KeyboardInterrupt:
        return
    except Exception as error:
        pipe.send(error)


def _end_with(parent: int) -> None:
    """End this process within a second of its parent's end."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
