"""The tables as the pages show them: one line a model, one column a benchmark or measure.

A row's title ends in ": BENCHMARK"; rows that share what stands before it share a line.
"""

from rows import GROUPS

WIDEST = 6  # benchmarks or measures beside one another
STATUSES = ("reproduced", "differs", "ours", "not run")


def counts(tables):
    """How far every table is: a line a table, a column a status.

    Arguments
    ---------
    tables : dict of str to list of dict

    Returns
    -------
    str
        Markdown.
    """
    lines = [["table", "rows", *STATUSES]]
    for name, rows in tables.items():
        found = [sum(row["status"] == status for row in rows) for status in STATUSES]
        lines.append([name, str(len(rows)), *map(str, found)])
    return _marked(lines)


def table(rows):
    """A table in Markdown, a part for each group; groups without rows are left out."""
    titles = {"paper": "As published", "real": "On parts of the corpora", "soundscapes": "On the built-in corpus"}
    parts = []
    for group in GROUPS:
        some = [row for row in rows if row["group"] == group]
        if some:
            parts += [f"**{titles[group]}**", *(_marked(pivot(part)) for part in readable(some))]
    return "\n\n".join(parts)


def readable(rows):
    """Rows in parts that make tables of at most `WIDEST` columns; rows that share no column are parted first.

    Example
    -------
    >>> rows = [{"title": f"model: column {index}"} for index in range(8)]
    >>> [len(part) for part in readable(rows)]
    [6, 2]
    """
    columns_of = {}
    for row in rows:
        columns_of.setdefault(split(row)[0], []).append(split(row)[1])
    blocks = []
    for columns in columns_of.values():
        joined = [block for block in blocks if set(block) & set(columns)]
        merged = list(dict.fromkeys(column for block in [*joined, columns] for column in block))
        blocks = [block for block in blocks if block not in joined] + [merged]
    parts = [block[start : start + WIDEST] for block in blocks for start in range(0, len(block), WIDEST)]
    return [[row for row in rows if split(row)[1] in part] for part in parts]


def only_run(rows, group):
    """The rows of a group that have run, as one table."""
    some = [row for row in rows if row["group"] == group and row["status"] not in ("", "not run")]
    return _marked(pivot(some)) if some else "No row of this group has run yet."


def of_corpus(rows, corpus):
    """The rows on one corpus that have run or have a published value: what, ours, published, cost, verdict.

    Example
    -------
    >>> row = {"row_id": "A3_esc50", "title": "student: ESC-50", "paper_value": "0.763", "status": "not run"}
    >>> print(of_corpus([{**row, "hours": "2", "note": ""}], "esc50"))
    | row | what | ours | published | hours a seed | |
    |---|---|---|---|---|---|
    | A3_esc50 | student |  | 0.763 | 2 | not run |
    """
    lines = [["row", "what", "ours", "published", "hours a seed", ""]]
    for row in rows:
        is_of = row["row_id"].endswith(f"_{corpus}")
        if is_of and (row["paper_value"] or row["status"] not in ("", "not run")):
            what, cost = split(row)[0], row["hours"]
            lines.append([row["row_id"], what, shown(row), row["paper_value"], cost, row["status"]])
    return _marked(lines)


def pivot(rows):
    """Lines of cells, the head first.

    Example
    -------
    >>> row = {"experiment": "A3", "title": "student: ESC-50", "paper_value": "0.763", "status": "not run"}
    >>> pivot([row])
    [['', 'what', 'ESC-50: ours', 'published'], ['A3', 'student', '', '0.763']]
    """
    columns = list(dict.fromkeys(split(row)[1] for row in rows))
    published = {column for row in rows if row["paper_value"] for column in [split(row)[1]]}
    head = ["", "what"]
    for column in columns:
        head += [f"{column}: ours", *(["published"] if column in published else [])]
    cells = {}
    for row in rows:
        cells.setdefault((row["experiment"], split(row)[0]), {})[split(row)[1]] = row
    lines = [head]
    for (experiment, what), found in cells.items():
        line = [experiment, what]
        for column in columns:
            row = found.get(column)
            line.append(shown(row) if row else "")
            if column in published:
                line.append(row["paper_value"] if row else "")
        lines.append(line)
    return lines


def split(row):
    """The title's two parts: what, and on which benchmark."""
    what, _, column = row["title"].rpartition(": ")
    return (what, column) if what else (column, "value")


def shown(row):
    """Our cell of a row: mean ± standard deviation over seeds (their number) [interval over clips] verdict; empty when
    nothing has run."""
    if row["status"] in ("", "not run"):
        return ""
    text = _short(row["ours_mean"])
    if row["ours_std"]:
        text += f" ± {_short(row['ours_std'])}"
    if row["n_seeds"]:
        text += f" ({row['n_seeds']})"
    if row["clip_ci95"]:
        text += f" [{', '.join(map(_short, row['clip_ci95'].split('..')))}]"
    return text if row["status"] == "ours" else f"{text} {row['status']}"


def _short(text):
    """Three decimals; whole numbers with commas."""
    return f"{int(text):,}" if text.lstrip("-").isdigit() else f"{float(text):.3f}"


def _marked(lines):
    rule = "|" + "---|" * len(lines[0])
    return "\n".join(
        ["| " + " | ".join(lines[0]) + " |", rule, *("| " + " | ".join(line) + " |" for line in lines[1:])]
    )
