"""The CNN trained by Algorithm 1: processes that update one shared model without locks (Hogwild).

`as_published`: each process runs the whole data set with its own order, and lets torch use every core.
`corrected`: the data set is shared out, and each process has one thread.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional as F
from torch.optim.sgd import sgd

from paraspike.errors import ReaderError
from paraspike.threads import as_others_start, cores

ARMS = ("as_published", "corrected")
LEARNING_RATE, MOMENTUM = 0.01, 0.5


class CNN(nn.Module):
    """Two convolutions of 10 and 20 filters of 5 x 5, dropout, 320-50-10 (PyTorch's MNIST Hogwild example)."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5)
        self.dropout = nn.Dropout2d()
        self.hidden, self.out = nn.Linear(320, 50), nn.Linear(50, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images [B, 1, 28, 28] -> log-probabilities [B, 10]."""
        x = F.relu(F.max_pool2d(self.first(x), 2))
        x = F.relu(F.max_pool2d(self.dropout(self.second(x)), 2)).flatten(1)
        x = F.dropout(F.relu(self.hidden(x)), training=self.training)
        return F.log_softmax(self.out(x), dim=1)


@dataclass(frozen=True)
class Epoch:
    """Seconds from the first process's first batch to the last one's end; images and batches that all
    processes did together; mean loss of their last batches."""

    seconds: float
    images: int
    batches: int
    loss: float


class Workers:
    """Processes that wait for epochs to train; start them once, for starting takes seconds.

    Leaving the context, also by an error or Ctrl-C, ends them; a process whose parent is gone ends itself.

    Args:
        count: processes.
        images: uint8 [n, 28, 28].  labels: int [n].
        device: cpu or cuda.
    """

    def __init__(self, count: int, images: np.ndarray, labels: np.ndarray, device: str = "cpu"):
        if count < 1 or len(images) != len(labels) or images.shape[1:] != (28, 28):
            raise ReaderError(
                f"{count} workers for images {list(images.shape)}, {len(labels)} labels",
                "Workers",
                "one or more workers; images of 28 x 28",
            )
        context = mp.get_context("spawn")
        self.device, self._workers = device, []
        x = torch.from_numpy(images).unsqueeze(1).float().div_(255).sub_(0.1307).div_(0.3081)
        y = torch.from_numpy(np.asarray(labels, np.int64))
        self.images, self.labels = x.share_memory_(), y.share_memory_()
        try:
            for rank in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_serve,
                    args=(theirs, rank, self.images, self.labels, device),
                    daemon=True,
                )
                with as_others_start():
                    process.start()
                theirs.close()
                self._workers.append((process, ours))
            for _, pipe in self._workers:
                _answer(pipe)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        for process, pipe in self._workers:
            process.terminate()
            pipe.close()
        for process, _ in self._workers:
            process.join(5)
            if process.exitcode is None:
                process.kill()
                process.join()
        self._workers = []

    def train(self, model: CNN, count: int, batch: int, arm: str, seed: int = 0) -> Epoch:
        """One epoch by `count` processes on the shared model, changed in place.

        Raises:
            ReaderError: more processes than there are, an unknown arm, a share of less than a batch, or a
                worker that failed, which ends all.
        """
        if not 1 <= count <= len(self._workers) or arm not in ARMS or batch < 1:
            raise ReaderError(
                f"{count} of {len(self._workers)} workers, batch {batch}, arm {arm!r}",
                "Workers.train",
                f"arms {', '.join(ARMS)}",
            )
        share = len(self.labels) // (1 if arm == "as_published" else count)
        if share < batch:
            raise ReaderError(
                f"a worker's {share} images make no batch of {batch}", "Workers.train"
            )
        model.to(self.device).share_memory()
        chosen = [pipe for _, pipe in self._workers[:count]]
        try:
            for message in ((model, count, batch, arm, seed), "go"):
                for pipe in chosen:
                    pipe.send(message)
                done = [_answer(pipe) for pipe in chosen]
        except BaseException as error:
            self.close()
            if isinstance(error, BrokenPipeError):
                raise ReaderError("a worker process ended by itself", "Workers") from error
            raise
        begin, end, images, batches, losses = zip(*done, strict=True)
        return Epoch(max(end) - min(begin), sum(images), sum(batches), float(np.mean(losses)))


def _answer(pipe):
    try:
        answer = pipe.recv()
    except EOFError as error:
        raise ReaderError("a worker process ended by itself", "Workers") from error
    if isinstance(answer, Exception):
        raise ReaderError(f"a worker failed: {answer}", "Workers") from answer
    return answer


def _serve(pipe, rank, images, labels, device):
    """A worker's life: told what to train, says it is ready, is told to go, says how it went."""
    try:
        images, labels = images.to(device), labels.to(device)
        pipe.send("here")
        while True:
            model, count, batch, arm, seed = pipe.recv()
            torch.set_num_threads(cores() if arm == "as_published" else 1)
            torch.manual_seed(seed * 1000 + rank)
            share = torch.arange(len(labels))
            share = share if arm == "as_published" else share[rank::count]
            share = share[torch.randperm(len(share))]
            step = _step(model)
            step(images[share[:1]], labels[share[:1]], False)
            pipe.send("ready")
            pipe.recv()
            begin, batches, loss = time.perf_counter(), 0, float("nan")
            for part in share.split(batch):
                loss, batches = step(images[part], labels[part]), batches + 1
            pipe.send((begin, time.perf_counter(), len(share), batches, float(loss)))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
    except Exception as error:
        pipe.send(error)


def _step(model):
    """Trains on a batch, returns its loss. SGD as a function: the class imports a compiler, a second's work."""
    parameters = list(model.parameters())
    momenta = [None] * len(parameters)
    model.train()

    def step(x, y, learn=True):
        loss = F.nll_loss(model(x), y)
        gradients = torch.autograd.grad(loss, parameters)
        if learn:
            with torch.no_grad():
                sgd(
                    parameters, list(gradients), momenta, foreach=False, weight_decay=0.0, dampening=0.0,
                    momentum=MOMENTUM, lr=LEARNING_RATE, nesterov=False, maximize=False,
                )  # fmt: skip
        return loss.item()

    return step
