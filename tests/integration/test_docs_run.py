"""Every code block of the README and of docs/ runs, in order, in a folder of recordings made for its page.

`bash` and `python` blocks run; `text`, `console` and the like are shown alone. A comment ``<!-- not run: reason -->``
directly before a block leaves it out, and the reason is what the skipped test says.
"""

import pytest
from docs_pages import PageRun, blocks_of, pages

RUN = ("bash", "python")
SHOWN = ("text", "console", "yaml", "json", "ini", "csv", "c", "html", "toml")
CASES = [
    pytest.param(page, index, id=f"{page.stem}-line{block.line}-{block.language}")
    for page in pages()
    for index, block in enumerate(blocks_of(page.read_text(encoding="utf-8")))
    if block.language in RUN
]
# Commands that a page may show without running them, each for a reason that it states: this many at most.
N_LEFT_OUT = 25


@pytest.fixture(scope="module")
def page_run(tmp_path_factory):
    """The run of a page, kept until the next page's first block, so that blocks share a folder and a namespace."""
    kept = {}

    def of(page):
        if page not in kept:
            for other in kept.values():
                other.close()
            kept.clear()
            kept[page] = PageRun(page, tmp_path_factory.mktemp(page.stem))
        return kept[page]

    yield of
    for run in kept.values():
        run.close()


@pytest.mark.slow
@pytest.mark.parametrize(("page", "index"), CASES)
def test_a_block_of_a_page_runs(page, index, page_run):
    reason = blocks_of(page.read_text(encoding="utf-8"))[index].not_run
    if reason:
        pytest.skip(reason)
    page_run(page).run_up_to(index)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_every_block_says_what_it_is(page):
    blocks = blocks_of(page.read_text(encoding="utf-8"))
    unknown = [f"line {block.line}: {block.language!r}" for block in blocks if block.language not in (*RUN, *SHOWN)]
    assert not unknown, "a fence without a known language runs nowhere"
    assert page.read_text(encoding="utf-8").count("\n```") == 2 * len(blocks), "a fence is not closed, or indented"


def test_most_blocks_run():
    blocks = [block for page in pages() for block in blocks_of(page.read_text(encoding="utf-8"))]
    ready = [block for block in blocks if block.language in RUN]
    assert sum(bool(block.not_run) for block in ready) <= N_LEFT_OUT
    assert sum(not block.not_run for block in ready) >= 80


def page_with(folder, text):
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    scratch = folder / "scratch"
    scratch.mkdir()
    return PageRun(page, scratch)


def test_blocks_of_a_page_share_a_folder_and_a_namespace(tmp_path):
    run = page_with(
        tmp_path,
        "```bash\ntest -s dog.wav && test $(ls recordings | wc -l) -eq 20\necho 3 > n\n```\n"
        "```python\nn = int(open('n').read())\n```\n```text\nno code\n```\n```python\nassert n == 3\n```\n",
    )
    run.run_up_to(3)
    run.close()


def test_a_block_that_fails_is_named_with_its_line_and_those_after_it_fail_too(tmp_path):
    run = page_with(tmp_path, "Text\n\n```bash\nfalse | true\n```\n\n```bash\ntrue\n```\n")
    with pytest.raises(RuntimeError, match=r"page\.md:3 \(bash\)"):
        run.run_up_to(0)
    with pytest.raises(RuntimeError, match=r"a block before this one failed: page\.md:3"):
        run.run_up_to(1)


def test_an_error_in_python_tells_the_line_of_the_page(tmp_path):
    run = page_with(tmp_path, "# Title\n\n```python\none = 1\none / 0\n```\n")
    with pytest.raises(RuntimeError, match=r'File "page\.md", line 5(?s:.*)ZeroDivisionError'):
        run.run_up_to(0)
    run.close()


def test_a_block_is_left_out_for_the_reason_before_it(tmp_path):
    left_out = "<!-- not run: needs\na {} -->\n```bash\nfalse\n```\n\n```bash\ntrue\n```\n"
    blocks = blocks_of(left_out.format("GPU") + left_out.format("microphone"))
    assert [block.not_run for block in blocks] == ["needs a GPU", "", "needs a microphone", ""]
    run = page_with(tmp_path, "<!-- not run: needs a GPU -->\n\n```bash\nfalse\n```\n")
    run.run_up_to(0)
