#!/usr/bin/env python3
"""Write the API reference, docs/api/*.md, from the docstrings of the package; nothing of it is imported.

    python docs/build_api.py            write the pages
    python docs/build_api.py --check    say whether they are what the docstrings say; changes nothing

To be run whenever a docstring has changed; a test checks it.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "api"
# The page → its title, what it is about, and the modules on it: names, or packages with all that is in them.
PAGES = {
    "use": (
        "Use a model",
        "What most people need: open a model, name, embed, describe, search.",
        ["tinyclap.pretrained", "tinyclap.sound_model", "tinyclap.label_bank", "tinyclap.label_vectors", "tinyclap.hub"]
        + ["tinyclap.model_card", "tinyclap.many_clips", "tinyclap.search_index", "tinyclap.search", "tinyclap.probe"]
        + ["tinyclap.adapters", "tinyclap.published", "tinyclap.prompts", "tinyclap.shipped", "tinyclap.errors"],
    ),
    "listen": (
        "Long and live audio",
        "Windows of a stream, decisions, events and their files.",
        ["tinyclap.detection"],
    ),
    "runtime": ("Run without torch", "Exported folders.", ["tinyclap.runtime", "tinyclap.torch_model"]),
    "audio": (
        "Audio",
        "Decoding, resampling, windows, front ends.",
        ["tinyclap.audio", "tinyclap.resample", "tinyclap.banded_resample", "tinyclap.sinc", "tinyclap.window_policy"]
        + ["tinyclap.windows", "tinyclap.features", "tinyclap.mel_power", "tinyclap.clip_groups"],
    ),
    "models": ("Models", "Encoders, heads, text towers, captioners.", ["tinyclap.models", "tinyclap.checkpoints"]),
    "teachers": ("Teachers", "Frozen models that a student learns from.", ["tinyclap.teachers"]),
    "losses": (
        "Losses and scores",
        "What is minimised, and what is reported.",
        ["tinyclap.losses", "tinyclap.distill_losses", "tinyclap.caption_losses", "tinyclap.metrics"]
        + ["tinyclap.caption_metrics", "tinyclap.ngram_metrics"],
    ),
    "latent": (
        "Dimensions of the shared space",
        "Rankings, pruning, students that serve with fewer.",
        ["tinyclap.latent", "tinyclap.latent_pruning", "tinyclap.kept_dims", "tinyclap.masking"],
    ),
    "training": ("Training", "Brains, data, stores.", ["tinyclap.brains", "tinyclap.data", "tinyclap.experiment"]),
    "export": ("Export", "From a checkpoint to a folder that runs without torch.", ["tinyclap.export"]),
}
HEAD = """# API reference

Every public function and class, from its docstring. Shape letters: B clips, T samples, F frames, M mel bins, D
dimensions of the shared embedding, C channels or features, L tokens, N classes.
"""
SECTIONS = ("Arguments", "Attributes", "Returns", "Yields", "Raises", "Notes", "Example", "Source", "Shape")
# names under which the package itself gives what is defined elsewhere
ALSO = {
    "tinyclap.from_pretrained": "tinyclap.pretrained.from_pretrained",
    "tinyclap.load_published": "tinyclap.published.load_published",
}
NAMED = ("Arguments", "Attributes")
ROLE = re.compile(r":(?:func|class|meth|mod|attr|data):`~?([\w.]+)`")


def modules_of(name):
    """The files of a module, or of a package and all in it that is public; none where it is not there."""
    path = ROOT.joinpath(*name.split("."))
    if path.with_suffix(".py").is_file():
        return {name: path.with_suffix(".py")}
    if not (path / "__init__.py").is_file():
        return {}
    found = {name: path / "__init__.py"}
    for child in sorted(path.iterdir()):
        if not child.name.startswith(("_", ".")) and (child.suffix == ".py" or (child / "__init__.py").is_file()):
            found |= modules_of(f"{name}.{child.stem}")
    return found


def public(body):
    """The public functions and classes of a module's or class's body."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node for node in body if isinstance(node, kinds) and not node.name.startswith("_")]


def signature(node, inside=False):
    """Name and arguments, as a caller writes them."""
    if isinstance(node, ast.ClassDef):
        init = [child for child in node.body if isinstance(child, ast.FunctionDef) and child.name == "__init__"]
        if not init:
            return node.name
        node, name, inside = init[0], node.name, True
    else:
        name = node.name
        kinds = {ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list}
        if inside and kinds & {"property", "cached_property"}:
            return name
        inside = inside and "staticmethod" not in kinds
    arguments = ast.unparse(node.args)
    return f"{name}({arguments.partition(', ')[2] if inside else arguments})"


def sections_of(text):
    """A docstring in parts: list of (section or "", lines)."""
    parts, lines = [("", [])], text.split("\n")
    for index, line in enumerate(lines):
        following = lines[index + 1] if index + 1 < len(lines) else ""
        if line in SECTIONS and following and set(following) == {"-"}:
            parts.append((line, []))
        elif not (line and set(line) == {"-"} and parts[-1][0] == lines[index - 1]):
            parts[-1][1].append(line)
    return parts


def prose(lines, index, page):
    """Plain lines as Markdown: roles become links, signs of HTML are escaped; indented lines are shown as they are."""
    text = "\n".join(lines).strip("\n")
    text = ROLE.sub(lambda found: link(found[1], index, page), text.replace("``", "`"))
    parts = re.split(r"(`[^`]*`|\]\([^)]*\))", text)
    return "".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


def link(name, index, page):
    """A name of the package as a link to where it is described, or as code."""
    shown = f"`{name}`"
    name = ALSO.get(name, name)
    if name not in index:
        return shown
    place = "" if index[name] == page else f"{index[name]}.md"
    return f"[{shown}]({place}#{name})"


def entries(lines):
    """The entries of a section of arguments, returns or errors: list of (head, lines under it)."""
    found = []
    for line in lines:
        if line.startswith("    ") or not line:
            if found:
                found[-1][1].append(line.removeprefix("    "))
        else:
            found.append((line, []))
    return found


def section(name, lines, index, page):
    """One section of a docstring as Markdown."""
    if name == "":
        return prose(lines, index, page)
    if name == "Example":
        return "**Example**\n\n```pycon\n" + "\n".join(lines).strip() + "\n```"
    if name not in ("Arguments", "Attributes", "Returns", "Yields", "Raises"):
        return f"**{name}**\n\n{prose(lines, index, page)}"
    written = []
    for head, under in entries(lines):
        what, _, kind = head.partition(" : ")
        shown = f"**{what}**" if name in NAMED or name == "Raises" else prose([what], index, page)
        kind = f" ({prose([kind], index, page)})" if kind else ""
        said = " ".join(prose(under, index, page).split())
        written.append(f"- {shown}{kind}{': ' if said else ''}{said}")
    return f"**{name}**\n\n" + "\n".join(written)


def documented(node, name, level, index, page, inside=False):
    """A function or class as Markdown: its heading, signature and docstring; a class's methods follow."""
    text = ast.get_docstring(node)
    kind = "class " if isinstance(node, ast.ClassDef) else ""
    lines = [f'<a id="{name}"></a>', f"{'#' * level} {node.name}", f"```python\n{kind}{signature(node, inside)}\n```"]
    if text:
        lines += [section(*part, index, page) for part in sections_of(text) if any(part[1])]
    if isinstance(node, ast.ClassDef):
        methods = [child for child in public(node.body) if ast.get_docstring(child)]
        lines += [documented(child, f"{name}.{child.name}", level + 1, index, page, True) for child in methods]
    return "\n\n".join(lines)


def trees():
    """Page → module → syntax tree."""
    found = {}
    for page, (_, _, names) in PAGES.items():
        files = {name: path for given in names for name, path in modules_of(given).items()}
        found[page] = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in files.items()}
    return found


def index_of(parsed):
    """Dotted name → page, of every module, function, class and method that is described."""
    found = {}
    for page, modules in parsed.items():
        for name, tree in modules.items():
            found[name] = page
            for node in public(tree.body):
                found[f"{name}.{node.name}"] = page
                for child in public(node.body) if isinstance(node, ast.ClassDef) else ():
                    found[f"{name}.{node.name}.{child.name}"] = page
    return found


def written():
    """File name → text of all pages."""
    parsed = trees()
    index = index_of(parsed)
    pages, contents = {}, []
    for page, (title, about, _) in PAGES.items():
        parts = [f"# {title}", f"{about} Written by `docs/build_api.py` from the docstrings. [All pages](index.md)"]
        contents.append(f"## [{title}]({page}.md)\n\n{about}\n")
        for name, tree in parsed[page].items():
            nodes = public(tree.body)
            if nodes:
                header = ast.get_docstring(tree) or ""
                parts += [f'<a id="{name}"></a>', f"## {name}", prose(header.split("\n"), index, page)]
                parts += [documented(node, f"{name}.{node.name}", 3, index, page) for node in nodes]
                names = ", ".join(f"[{node.name}]({page}.md#{name}.{node.name})" for node in nodes)
                contents.append(f"- `{name}`: {names}")
        pages[f"{page}.md"] = "\n\n".join(part for part in parts if part) + "\n"
        contents.append("")
    return {"index.md": "\n".join([HEAD, *contents]), **pages}


def main(words):
    """Write the pages or check them; returns the exit status."""
    pages = written()
    there = {path.name: path.read_text(encoding="utf-8") for path in TARGET.glob("*.md")}
    if "--check" in words:
        stale = sorted(name for name in pages.keys() | there.keys() if pages.get(name) != there.get(name))
        if stale:
            print(f"docs/api: {', '.join(stale)}: not what the docstrings say; run: python docs/build_api.py")
        return bool(stale)
    TARGET.mkdir(exist_ok=True)
    for name in there.keys() - pages.keys():
        (TARGET / name).unlink()
    for name, text in pages.items():
        (TARGET / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
