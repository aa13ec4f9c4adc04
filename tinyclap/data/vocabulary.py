"""The vocabulary of a run: from its training captions, or from a file."""

from pathlib import Path

from speechbrain.utils.distributed import ddp_barrier, if_main_process

from tinyclap.data.pipeline import read_items
from tinyclap.errors import ManifestError
from tinyclap.text.tokenizer import WordTokenizer


def ensure_vocabulary(corpora, path, given=None, min_count=1, max_size=None):
    """The tokenizer of a run, needed before its model is built.

    Arguments
    ---------
    corpora : tinyclap.data.corpora.Corpora. Prepared here; the captions of its training parts give the words.
    path : str or os.PathLike. Where the vocabulary is kept, as JSON.
    given : str or os.PathLike, optional. A file for :meth:`tinyclap.text.tokenizer.WordTokenizer.load` to use instead.
    min_count, max_size : int. See :meth:`tinyclap.text.tokenizer.WordTokenizer.from_captions`.
    """
    if given is not None:
        return WordTokenizer.load(given)
    if if_main_process():
        corpora.prepare()
        items = read_items(corpora.manifests("train"))
        captions = [caption for item in items.values() for caption in item["captions"] or ()]
        if not captions:
            raise ManifestError(f"none of the {len(items)} training clips has a caption: there are no words to learn")
        WordTokenizer.from_captions(captions, min_count, max_size).save(Path(path))
    ddp_barrier()
    return WordTokenizer.load(path)
