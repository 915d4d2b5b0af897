"""Progress bars where tqdm is installed; without it a long run is silent."""

try:
    from tqdm import tqdm
except ModuleNotFoundError:

    class tqdm:
        """Takes what a bar takes, and draws nothing."""

        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, *_):
            pass

        def set_postfix(self, **_):
            pass


__all__ = ["tqdm"]
