"""Files that training resumes from: there whole, or not at all."""

import os

import torch


def save(arm) -> None:
    """Put the state of a `training.Trainee` in place of its file's last one."""
    file, history = arm.checkpoint, vars(arm.history)
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "epoch": arm.epoch,
        "network": arm.network.state_dict(),
        "optimizer": arm.optimizer.state_dict(),
        "history": {name: torch.from_numpy(values) for name, values in history.items()},
        "companion": None if arm.companion is None else arm.companion.state_dict(),
    }
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    torch.save(state, temporary)
    os.replace(temporary, file)


def load(arm) -> dict | None:
    """Set a Trainee to the state in its file; returns that of its companion, which is not attached yet."""
    state = torch.load(arm.checkpoint, map_location="cpu", weights_only=True)
    arm.network.load_state_dict(state["network"])
    arm.optimizer.load_state_dict(state["optimizer"])
    for name, values in state["history"].items():
        getattr(arm.history, name)[:] = values.numpy()
    arm.epoch = state["epoch"]
    return state["companion"]
