"""The errors that users meet: each says what is wrong, where, and what to do."""


class TinyclapError(Exception):
    """Base of every error that this project raises on purpose."""


class ConfigError(TinyclapError):
    """A recipe, option or argument cannot mean what it says."""


class AudioError(TinyclapError):
    """One recording cannot be used.

    Arguments
    ---------
    source : str or os.PathLike
        The file (or ``clip 3 of the batch``).
    problem : str
        What is wrong and what to do.
    """

    def __init__(self, source, problem):
        super().__init__(f"{source}: {problem}")
        self.source = source
        self.problem = problem

    def __reduce__(self):
        """A worker process hands it to its parent whole."""
        return type(self), (self.source, self.problem)


class ManifestError(TinyclapError):
    """A manifest is missing, malformed, or of another corpus than expected."""


class CheckpointError(TinyclapError):
    """Weights are missing, do not fit, or were not loaded."""


class DownloadError(TinyclapError):
    """A file could not be fetched, or is not the file that was published."""


class DataLayoutError(TinyclapError):
    """A corpus folder is not as published; lists everything that is wrong at once.

    Arguments
    ---------
    dataset : str
        Name of the corpus.
    root : str or os.PathLike
        The folder that was given.
    problems : list of str
        Each thing that is wrong; the first 20 are printed, then how many more there are.
    tree : str
        The expected layout, drawn.
    see : str
        The page to get the corpus from.
    """

    n_shown = 20

    def __init__(self, dataset, root, problems, tree, see):
        shown = [f"  - {problem}" for problem in problems[: self.n_shown]]
        if len(problems) > self.n_shown:
            shown.append(f"  … and {len(problems) - self.n_shown} more")
        lines = [f"{dataset} in {root} cannot be used; {len(problems)} problem(s):", *shown]
        lines += ["Expected:", *(f"  {line}" for line in tree.strip().splitlines()), f"Get it from: {see}"]
        super().__init__("\n".join(lines))
        self.problems = list(problems)
