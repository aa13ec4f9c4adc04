"""What a training run shows: a progress bar with the loss, a line an epoch, and a logger of SpeechBrain."""

from tqdm import tqdm


class LossBar(tqdm):
    """A progress bar with the mean loss of the epoch's steps so far, fetched when the bar is drawn and only then.

    Arguments
    ---------
    loader : iterable
    mean_loss : callable. () → float or None.
    options : Of tqdm.
    """

    def __init__(self, loader, mean_loss, **options):
        self._mean_loss = mean_loss
        super().__init__(loader, **options)

    @property
    def format_dict(self):
        """tqdm's values of the bar, with the loss."""
        loss = self._mean_loss()
        return {**super().format_dict, "postfix": None if loss is None else f"train_loss={loss:.4g}"}


def epoch_line(record, n_epochs, seconds, clips_per_second, best):
    """One line on an epoch.

    Arguments
    ---------
    record : dict. A line of ``history.jsonl``: epoch, lr, train, valid.
    n_epochs : int
    seconds, clips_per_second : float. Of the epoch, validation included, and of its training.
    best : dict. ``epoch``, ``by`` (the criterion's name) and ``value`` of the best epoch so far.

    Example
    -------
    >>> record = {"epoch": 2, "lr": 0.001, "train": {"loss": -0.5}, "valid": {"loss": -0.25, "cosine": 0.25}}
    >>> best = {"epoch": 1, "by": "cosine", "value": 0.5}
    >>> for part in epoch_line(record, 6, 12.34, 455.2, best).split("; "):
    ...     print(part)
    epoch 2 of 6: 12.3 s, 455 clips/s, lr 1.00e-03
    train loss -0.5000
    valid loss -0.2500, cosine 0.2500
    best so far: epoch 1, cosine 0.5000
    """
    train, valid = (
        ", ".join(f"{key} {value:.4f}" for key, value in record[part].items()) for part in ("train", "valid")
    )
    return (
        f"epoch {record['epoch']} of {n_epochs}: {seconds:.1f} s, {clips_per_second:.0f} clips/s, lr "
        f"{record['lr']:.2e}; train {train}; valid {valid}; best so far: epoch {best['epoch']}, {best['by']} "
        f"{best['value']:.4f}"
    )


def log_epoch(train_logger, meta, train, valid):
    """Give an epoch to a TrainLogger of SpeechBrain (file, TensorBoard, W&B).

    Arguments
    ---------
    train_logger : speechbrain.utils.train_logger.TrainLogger
    meta, train, valid : dict. Numbers by name; `meta` has the ``epoch``.
    """
    steps = getattr(train_logger, "global_step", None)
    if steps is not None:  # TensorBoard's count starts at 0 in every process: a resumed run would draw over its curves
        steps["meta"] = meta["epoch"] - 1
        for part, stats in (("train", train), ("valid", valid)):
            steps[part] = dict.fromkeys(stats, meta["epoch"] - 1)
    train_logger.log_stats(meta, train_stats=train, valid_stats=valid, verbose=False)
