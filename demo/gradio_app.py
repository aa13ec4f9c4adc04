"""A small Gradio app: a recording and words in, their shares and a sentence out. Runs on a server or a Space.

    pip install -r demo/requirements.txt
    python demo/gradio_app.py

In a Space it stands beside ``requirements.txt`` and is the card's ``app_file``. No torch is needed.
"""

import functools
import re

import gradio

import tinyclap
from tinyclap.config.shipped import DEFAULT_CAPTIONER, DEFAULT_MODEL, shipped_folder
from tinyclap.errors import TinyclapError

WORDS = "dog barking, rain, siren, car horn, clock ticking, glass breaking, birds singing, a person speaking, music"
SHOWN = 8


@functools.cache
def opened(name):
    """A model, opened when it is first used."""
    return tinyclap.from_pretrained(name)


def hear(path, words):
    """Name and describe a recording.

    Arguments
    ---------
    path : str or None
        Of the recording.
    words : str
        Separated by commas or lines; empty takes the model's own.

    Returns
    -------
    dict of str to float
        The likeliest words, with their shares among all that were given.
    str
        A sentence; empty where no captioner comes with the package.

    Raises
    ------
    gradio.Error
        There is nothing to hear, or the recording cannot be used; the message says why.
    """
    if path is None:
        raise gradio.Error("Give a recording first.", print_exception=False)
    names = [name.strip() for name in re.split(r"[,\n]", words) if name.strip()]
    try:
        (best,) = opened(DEFAULT_MODEL).classify(path, names or None, top=SHOWN)
        has_captioner = shipped_folder(DEFAULT_CAPTIONER) is not None
        sentence = opened(DEFAULT_CAPTIONER).caption(path)[0] if has_captioner else ""
    except TinyclapError as error:
        raise gradio.Error(str(error), print_exception=False) from error
    return dict(best), sentence


def make_app():
    """The app, not yet running: gradio.Interface."""
    return gradio.Interface(
        fn=hear,
        inputs=[
            gradio.Audio(type="filepath", label="Recording, or microphone"),
            gradio.Textbox(WORDS, lines=3, label="Words, separated by commas"),
        ],
        outputs=[gradio.Label(num_top_classes=SHOWN, label="What it hears"), gradio.Textbox(label="In a sentence")],
        title="tinyclap: name sounds",
        description="A small zero-shot sound classifier; it knows the sounds of its training audio best.",
        flagging_mode="never",
    )


if __name__ == "__main__":
    make_app().launch()
