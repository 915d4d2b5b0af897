"""What one processor of the runtime does: its tasks in the schedule's order, and the messages between them."""

import time
from collections import Counter, deque

import torch
from torch import distributed
from torch.func import functional_call

from paraspike.errors import ReaderError
from paraspike.pipelining.cut import Cut
from paraspike.pipelining.runtime_plan import Event, Item, Plan, as_bytes


class Worker:
    """One processor at work; `run` is its whole life."""

    def __init__(self, desk, plan: Plan, modules, source, optimizer_factory, loss, trace):
        self.desk, self.plan, self.modules, self.source = desk, plan, modules, source
        self.loss, self.trace, self.me = loss, trace, desk.rank
        self.order = plan.order(self.me)
        self.uses = Counter(item for task in self.order for item in plan.needs(*task))
        self.store, self.posted, self.sends = {}, {}, deque()
        self.cuts, self.losses, self.events = {}, {}, []
        self.sent, self.held = Counter(), Counter()
        self.optimizers = {
            layer: optimizer_factory(list(modules[layer - 1].synapse.parameters()))
            for kind, layer in plan.place
            if kind == "W" and plan.place[kind, layer] == self.me
        }
        for layer in range(1, plan.depth + 1):
            self.keep(Item("weights", layer, 0), self.flat(layer))

    def run(self):
        """Losses, weights, events and counts of this processor."""
        plan, ends, busy = self.plan, [0.0] * self.plan.updates, 0.0
        own = sum(where == self.me for where in plan.place.values())
        self.warm()
        self.desk.together()
        # Comparable between processes: the system's monotonic clock.
        begin = time.perf_counter()
        for number, (kind, layer, sample) in enumerate(self.order):
            self.post(self.order[: own + 1] if number == 0 else self.order[number + own :][:1])
            needs = plan.needs(kind, layer, sample)
            late = [item for item in needs if item in self.posted]
            if late:
                self.desk.say("waiting", kind, layer, sample)
                for item in late:
                    work, buffer = self.posted.pop(item)
                    work.wait()
                    self.keep(item, buffer.to(plan.dtype))
            self.desk.say("running", kind, layer, sample)
            start = time.perf_counter()
            version = {"F": self.forward, "B": self.backward, "W": self.update}[kind](layer, sample)
            end = time.perf_counter()
            busy, ends[sample] = busy + end - start, end
            if self.trace:
                self.events.append(Event(self.me, kind, layer, sample, version, start, end))
            for item in needs:
                self.release(item)
            self.settle(plan.start[kind, layer] + (sample - 1) * plan.period)
        self.settle(None)
        made = {
            layer: {k: p.detach().numpy() for k, p in self.synapse(layer).named_parameters()}
            for layer in self.optimizers
        }
        return {
            "begin": begin, "ends": ends, "busy": busy, "weights": made, "losses": self.losses,
            "sent": dict(self.sent), "held": dict(self.held), "events": self.events,
        }  # fmt: skip

    def warm(self):
        """Each layer once forth and back on silence: kernels are loaded, or compiled, before the clock runs."""
        plan = self.plan
        for layer in sorted(
            {layer for (_, layer), where in plan.place.items() if where == self.me}
        ):
            x, module = (
                torch.zeros(plan.shapes["spikes", layer], dtype=plan.dtype),
                self.modules[layer - 1],
            )
            cut = Cut(module, x, module.synapse)
            cut.back(torch.zeros_like(cut.out))

    def forward(self, layer, sample):
        plan, module = self.plan, self.modules[layer - 1]
        if layer == 1:
            x = self.read(sample)
            self.emit(Item("spikes", 1, sample), x)
        else:
            x = self.store[Item("spikes", layer, sample)]
        version = plan.version("F", layer, sample)
        weights = self.unflat(layer, version)
        cut = Cut(module, x, lambda rows: functional_call(module.synapse, weights, (rows,)))
        out = cut.out.detach()
        self.cuts[layer, sample] = cut, self.passes(layer)
        self.emit(Item("state", layer, sample), cut.currents.detach())
        if layer < plan.depth:
            self.emit(Item("spikes", layer + 1, sample), out)
        else:
            self.emit(Item("error", layer, sample), self.judge(out, sample))
        if not self.passes(layer):
            del self.cuts[layer, sample]
        return version

    def backward(self, layer, sample):
        version = self.plan.version("B", layer, sample)
        error, weights = self.store[Item("error", layer, sample)], self.unflat(layer, version)
        below = self.cut(layer, sample).below(error, weights["weight"])
        self.emit(Item("error", layer - 1, sample), below)
        return version

    def update(self, layer, sample):
        found = self.cut(layer, sample).update(self.store[Item("error", layer, sample)])
        synapse, optimizer = self.synapse(layer), self.optimizers[layer]
        for parameter, gradient in zip((synapse.weight, synapse.bias), found, strict=True):
            if parameter is not None:
                parameter.grad = gradient
        optimizer.step()
        optimizer.zero_grad()
        item = Item("weights", layer, sample + 1)
        if self.plan.targets(item):
            self.emit(item, self.flat(layer))
        return sample + 1

    def judge(self, logits, sample):
        """Note the loss; the error of the logits."""
        logits.requires_grad_()
        loss = self.loss(logits, self.source.labels(sample))
        if not torch.isfinite(loss):
            hint = "lower the learning rate or the delays"
            raise ReaderError(f"the loss is {loss.item()}", f"update {sample}", hint)
        self.losses[sample] = loss.item()
        return torch.autograd.grad(loss, logits)[0]

    def read(self, sample):
        x, shape = self.source.inputs(sample), self.plan.shapes["spikes", 1]
        if tuple(x.shape) != shape or x.dtype != self.plan.dtype:
            raise ReaderError(
                f"input {sample} is {x.dtype} {list(x.shape)}",
                "source.inputs",
                f"as the first one, {self.plan.dtype} {list(shape)}",
            )
        return x

    def passes(self, layer):
        """Of B and W of a layer, how many run here."""
        return sum(self.plan.place.get((kind, layer)) == self.me for kind in "BW")

    def cut(self, layer, sample):
        """The layer as F left it, or opened again from its currents; gone once B and W took it."""
        key, shape = (layer, sample), self.plan.shapes["spikes", layer]
        if key not in self.cuts:
            x = self.store.get(Item("spikes", layer, sample))
            x = torch.zeros(shape, dtype=self.plan.dtype) if x is None else x
            state = self.store[Item("state", layer, sample)]
            opened = Cut(self.modules[layer - 1], x, lambda rows: state)
            self.cuts[key] = opened, self.passes(layer)
        found, left = self.cuts.pop(key)
        if left > 1:
            self.cuts[key] = found, left - 1
        return found

    def synapse(self, layer):
        return self.modules[layer - 1].synapse

    def flat(self, layer):
        """A copy of the newest weights, as one vector."""
        return torch.cat([p.detach().reshape(-1) for p in self.synapse(layer).parameters()])

    def unflat(self, layer, version):
        """Weights of a version, by name: views of the vector."""
        named = dict(self.synapse(layer).named_parameters())
        parts = self.store[Item("weights", layer, version)].split(
            [p.numel() for p in named.values()]
        )
        return {k: v.view_as(p) for (k, p), v in zip(named.items(), parts, strict=True)}

    def keep(self, item, tensor):
        if not self.uses[item]:
            return
        self.store[item] = tensor
        if item.what == "weights":
            count = sum(other[:2] == item[:2] for other in self.store)
            self.held[item.layer] = max(self.held[item.layer], count)

    def release(self, item):
        self.uses[item] -= 1
        if not self.uses[item]:
            del self.store[item], self.uses[item]

    def emit(self, item, tensor):
        """Keep what is wanted here, send what is wanted elsewhere."""
        targets, packed = self.plan.targets(item), None
        if self.me in targets:
            self.keep(item, tensor)
        for target in sorted(targets - {self.me}):
            packed = self.packed(item, tensor) if packed is None else packed
            work = distributed.isend(packed, target, tag=self.plan.tag(item))
            self.sends.append((self.plan.due(item), work, packed))
            self.sent[item.what] += packed.nbytes

    def packed(self, item, tensor):
        """As it travels."""
        if not self.plan.packs(item):
            return tensor.contiguous()
        found = as_bytes(tensor)
        if found is None:
            what = f"spikes into layer {item.layer} of sample {item.number} do not fit into bytes"
            hint = "those of sample 0 are whole numbers, these are not; use one kind throughout"
            raise ReaderError(what, "runtime", hint)
        return found.contiguous()

    def settle(self, cycle):
        """Let go of what was sent to tasks that started before a cycle; None: of all. Those tasks wait for
        nothing that comes after it, so that this cannot lock up."""
        while self.sends and (cycle is None or self.sends[0][0] < cycle):
            self.desk.say("waiting")
            self.sends.popleft()[1].wait()

    def post(self, tasks):
        """Ask for what tasks need from elsewhere, ahead of them: one repetition, so that it comes meanwhile."""
        for task in tasks:
            for item in self.plan.needs(*task):
                made_here = self.plan.maker(item) == self.me or item[::2] == ("weights", 0)
                if made_here or item in self.posted or item in self.store:
                    continue
                dtype = torch.uint8 if self.plan.packs(item) else self.plan.dtype
                buffer = torch.empty(self.plan.shapes[item[:2]], dtype=dtype)
                tag = self.plan.tag(item)
                self.posted[item] = (
                    distributed.irecv(buffer, self.plan.maker(item), tag=tag),
                    buffer,
                )


def work(desk, plan: Plan, factory, source, optimizer_factory, loss, trace):
    """A processor's share of `runtime.train`."""
    return Worker(desk, plan, factory(), source, optimizer_factory, loss, trace).run()
