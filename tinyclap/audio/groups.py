"""Clips cut into pieces, in groups that a captioner can encode as one batch: torch and numpy share it. No torch."""


def clip_groups(clips, sample_rate_hz, policy, batch_size=16):
    """Cut clips into pieces; those with pieces of the same number and length go together, so that no zeros are heard.

    Arguments
    ---------
    clips : list of numpy.ndarray or torch.Tensor, each of shape (T_i,)
    sample_rate_hz : int
        Of all of them.
    policy : tinyclap.audio.windows.WindowPolicy
    batch_size : int
        Clips of a group, at most.

    Yields
    ------
    list of int
        Which clips they are.
    list of numpy.ndarray or torch.Tensor, each of shape (n_pieces, T_piece)
        Their pieces.

    Example
    -------
    >>> import numpy as np
    >>> from tinyclap.audio.windows import WindowPolicy
    >>> clips = [np.ones(3), np.ones(12), np.ones(3)]
    >>> [owners for owners, _ in clip_groups(clips, 1, WindowPolicy(window_s=5.0))]
    [[0, 2], [1]]
    """
    by_shape = {}
    for index, clip in enumerate(clips):
        pieces = policy.cut(clip, sample_rate_hz)
        by_shape.setdefault(tuple(pieces.shape), []).append((index, pieces))
    for members in by_shape.values():
        for first in range(0, len(members), batch_size):
            part = members[first : first + batch_size]
            yield [index for index, _ in part], [pieces for _, pieces in part]
