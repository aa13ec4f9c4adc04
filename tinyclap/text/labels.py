"""What ``--labels`` means: names, a file of names, a compiled bank, or the name of a ready bank."""

from pathlib import Path

from tinyclap.errors import ConfigError

_BANKS = (".npz", ".json")
_LISTS = (".txt", ".csv", ".lst")


def read_labels(words, model_name):
    """Read the labels that an option names.

    Arguments
    ---------
    words : str or None
        ``"dog barking,rain"``; a file with one name a line; a bank's ``.npz`` or ``.json``; or the name of a ready
        bank, such as ``"esc50"``.
    model_name : str
        Whose ready banks are meant.

    Returns
    -------
    list of str, tinyclap.text.bank.LabelBank or None
        None for None: the model's own labels.

    Raises
    ------
    ConfigError
        There is no name, or no such file.

    Example
    -------
    >>> read_labels("dog barking, rain", "tinyclap-phinet-m")
    ['dog barking', 'rain']
    """
    if words is None:
        return None
    path = Path(words)
    if path.suffix.lower() in _BANKS:
        from tinyclap.text.bank import LabelBank

        return LabelBank.load(path)
    if path.suffix.lower() in _LISTS and not path.is_file():
        raise ConfigError(f"--labels {words}: no such file")
    if path.is_file():
        names = path.read_text(encoding="utf-8").splitlines()
    else:
        bank = None if "," in words else _ready(words, model_name)
        if bank is not None:
            return bank
        names = words.split(",")
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise ConfigError(f"--labels {words!r}: holds no name")
    return names


def _ready(name, model_name):
    """The bank of this name that comes with a shipped model, or None."""
    from tinyclap.config.shipped import shipped_folder

    folder = shipped_folder(model_name)
    if folder is None or not (folder / "banks" / f"{name}.npz").is_file():
        return None
    from tinyclap.text.bank import ready_bank

    return ready_bank(name, model_name)
