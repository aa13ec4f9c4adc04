"""Label banks as C headers (C99), for devices that have neither files nor Python."""

import json
import re

import numpy as np

_SCORES = {
    "cosine": "the dot product of the L2-normalised audio embedding and the label's",
    "dot": "the dot product of the audio embedding and the label's",
    "sqrt_dot": "the sum over dimensions of sqrt(audio) * label",
}
_PER_LINE = 8


def header(bank, name, int8=False):
    """The text of a C header with a LabelBank's labels and vectors, `int8` with a scale for each label.

    The arrays are called ``bank_`` and `name`.
    """
    prefix = re.sub(r"\W", "_", f"bank_{name}", flags=re.ASCII)
    n_labels, n_dims = bank.vectors.shape
    lines = [
        *_comment(bank, int8),
        f"#ifndef {prefix.upper()}_H",
        f"#define {prefix.upper()}_H",
        "",
        *(["#include <stdint.h>", ""] if int8 else []),
        f"#define {prefix.upper()}_N_LABELS {n_labels}",
        f"#define {prefix.upper()}_N_DIMS {n_dims}",
        "",
        f"static const char *const {prefix}_labels[{n_labels}] = {{",
        *(f"    {c_string(label)}," for label in bank.labels),
        "};",
        "",
    ]
    vectors = bank.vectors
    if int8:
        scales = np.abs(vectors).max(axis=1) / 127
        scales[scales == 0] = 1
        lines += [f"static const float {prefix}_scales[{n_labels}] = {{", *_rows(scales.tolist(), "    "), "};", ""]
        vectors = np.rint(vectors / scales[:, None]).astype(np.int8)
    lines.append(f"static const {'int8_t' if int8 else 'float'} {prefix}_vectors[{n_labels}][{n_dims}] = {{")
    for row in vectors.tolist():
        lines += ["    {", *_rows(row, "        "), "    },"]
    return "\n".join([*lines, "};", "", f"#endif /* {prefix.upper()}_H */", ""])


def c_string(text):
    r"""A C string literal in ASCII, of the bytes of UTF-8.

    Example
    -------
    >>> print(c_string('say "é?"'))
    "say \"\303\251\077\""
    """
    plain = set(range(32, 127)) - set(b'"\\?')  # ?? would begin a trigraph
    escaped = (chr(b) if b in plain else f"\\{chr(b)}" if b in b'"\\' else f"\\{b:03o}" for b in text.encode())
    return f'"{"".join(escaped)}"'


def _comment(bank, int8):
    """What the bank is, as a comment that no label can end."""
    tower = bank.text_identity
    about = [
        f"Label bank of tinyclap: {len(bank.labels)} labels, {bank.embed_dim} dimensions.",
        f"model: {bank.model} (sha256 {bank.model_sha256})",
        f"text tower: {tower.get('name', 'unknown')} (sha256 {tower.get('sha256', 'unknown')})",
        f"prompts: {json.dumps(bank.templates)}",
        f"score of a label ({bank.score_kind}): {_SCORES[bank.score_kind]}" + ", times the label's scale" * int8,
    ]
    return ["/*", *(f" * {line.replace('*/', '* /').replace('/*', '/ *')}" for line in about), " */"]


def _rows(numbers, indent):
    """Lines of :data:`_PER_LINE` literals."""
    written = [str(number) if isinstance(number, int) else _c_float(number) for number in numbers]
    groups = [written[first : first + _PER_LINE] for first in range(0, len(written), _PER_LINE)]
    return [f"{indent}{', '.join(group)}," for group in groups]


def _c_float(number):
    """A literal that is read back as the same float32."""
    text = f"{number:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"
