"""What one check says."""

import dataclasses

OK, WARNING, FAULT = "ok", "warning", "fault"
# What an installation is for. Each is an extra of setup.py by the same name, on top of the base install.
PURPOSES = ("runtime", "train", "export", "metrics")


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one check says.

    Arguments
    ---------
    part : str
        What was looked at, e.g. "torchaudio".
    status : {"ok", "warning", "fault"}
    found : str
        What is there.
    why : str
        Why it matters, where something is wrong.
    mend : str
        The command that mends it, to be pasted into a shell.
    needed_by : tuple of str
        Purposes (of :data:`PURPOSES`) that it stops; a fault that stops none of those asked for is a warning.
    """

    part: str
    status: str
    found: str
    why: str = ""
    mend: str = ""
    needed_by: tuple = PURPOSES

    def for_purposes(self, asked):
        """The same, with a fault that stops none of the purposes `asked` as a warning.

        Example
        -------
        >>> Finding("Java", FAULT, "none", needed_by=("metrics",)).for_purposes(["runtime"]).status
        'warning'
        """
        if self.status == FAULT and not set(self.needed_by) & set(asked):
            return dataclasses.replace(self, status=WARNING)
        return self
