"""From a class name to the sentences that stand for it.

Source of the templates: the official tinyCLAP code ("this is the sound of "), the CLAP paper and repository ("this is
a sound of "). Reference quirk kept behind a key: the official code leaves UrbanSound8K's underscores in (defect D13).
"""

from tinyclap.errors import ConfigError

TINYCLAP_TEMPLATE = "this is the sound of {}"
CLAP_TEMPLATE = "this is a sound of {}"
PLAIN_TEMPLATE = "{}"
ENSEMBLE = (
    "{}",
    "the sound of {}",
    "this is a sound of {}",
    "a recording of {}",
    "{} can be heard",
)


def readable(class_name, underscores="space", slashes="space"):
    """A class name as a person would write it.

    Arguments
    ---------
    class_name : str
        As the corpus has it: ``"air_conditioner"``, ``"cafe/restaurant"``.
    underscores, slashes : str
        ``"space"``: becomes a space; ``"or"``: becomes " or "; ``"keep"``: stays, as in the official code (slashes in
        TUT17, underscores in UrbanSound8K).

    Example
    -------
    >>> readable("cafe/restaurant", slashes="or"), readable("air_conditioner")
    ('cafe or restaurant', 'air conditioner')
    """
    replacements = {"space": " ", "or": " or ", "keep": None}
    for key, value in (("underscores", underscores), ("slashes", slashes)):
        if value not in replacements:
            raise ConfigError(f"prompts: {key}={value!r}; choose 'space', 'or' or 'keep'")
    for sign, way in (("_", underscores), ("/", slashes)):
        if replacements[way] is not None:
            class_name = class_name.replace(sign, replacements[way])
    return class_name


def make_prompts(class_names, templates=TINYCLAP_TEMPLATE, underscores="space", slashes="space"):
    """The prompts of each class.

    Arguments
    ---------
    class_names : sequence of str, N of them
    templates : str or sequence of str, K of them
        Each with exactly one ``{}``; several make a prompt ensemble, whose embeddings are averaged.
    underscores, slashes : str
        See :func:`readable`.

    Returns
    -------
    list of list of str, N × K

    Raises
    ------
    ConfigError
        There is no template, or one has no ``{}`` or more than one.

    Example
    -------
    >>> make_prompts(["dog_bark"], "this is the sound of {}")
    [['this is the sound of dog bark']]
    """
    templates = [templates] if isinstance(templates, str) else list(templates)
    if not templates:
        raise ConfigError("prompts: no template was given, so the classes have no text")
    for template in templates:
        if template.count("{}") != 1:
            raise ConfigError(f"prompt template {template!r} must hold the class name's place, {{}}, exactly once")
    return [
        [template.replace("{}", readable(name, underscores, slashes)) for template in templates] for name in class_names
    ]
