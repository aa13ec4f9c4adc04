"""Check of an encoder or student on one dummy batch, before any data or teacher work."""


def check_encoder(model, features=None):
    """Check that an encoder or student trains, is saved and is rebuilt; nothing of it changes.

    Arguments
    ---------
    model : nn.Module. An :class:`tinyclap.models.student.AudioStudent`, or an encoder with `features`.
    features : tinyclap.features.front_ends.LogMel, optional. The front end, for an encoder; a student has its own.

    Raises
    ------
    ConfigError: One line: what is missing or wrong, and what to write.
    """
