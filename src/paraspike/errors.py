"""Errors that are written for the reader: what happened, where it was looked for, how to cure it."""


class ReaderError(Exception):
    """Something the reader of the message can cure.

    Args:
        what: one sentence naming the thing that is wrong.
        where: the place that was looked at (file and record, key, folder), or None.
        hint: the cure, or None.
    """

    def __init__(self, what: str, where: object = None, hint: str | None = None):
        self.what, self.where, self.hint = what, where, hint
        lines = [what]
        if where is not None:
            lines.append(f"  looked in: {where}")
        if hint is not None:
            lines.append(f"  hint: {hint}")
        super().__init__("\n".join(lines))

    def __reduce__(self):
        return type(self), (self.what, self.where, self.hint)
