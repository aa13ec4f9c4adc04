"""Fetching published files: nothing twice, nothing half-fetched taken for whole, and errors that say what to do."""

import hashlib
import http.server
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tinyclap.errors import DownloadError
from tinyclap.published.download import download, md5_of, zenodo_file

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.files`` (path → bytes); notes each request, and can ignore ranges or hang up early."""

    def do_GET(self):
        site = self.server
        asked = self.headers.get("Range")
        site.requests.append((self.path, asked))
        if self.path not in site.files:
            self.send_error(404)
            return
        content, status = site.files[self.path], 200
        if asked and site.knows_ranges:
            first = int(asked.removeprefix("bytes=").rstrip("-"))
            if first >= len(content):
                self.send_error(416)
                return
            content, status = content[first:], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: site.hangs_up_after])

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    """A web server on this machine, with ``url``, ``files``, ``requests``, ``knows_ranges`` and ``hangs_up_after``."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    server.files = {"/weights.pth": CONTENT}
    server.requests, server.knows_ranges, server.hangs_up_after = [], True, None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def fetch(site, tmp_path):
    """Fetches ``/weights.pth`` as published into a folder that does not exist yet; options change what is published."""

    def run(**changes):
        return download(
            f"{site.url}/weights.pth", tmp_path / "cache/weights.pth", **({"size_bytes": 300_000, "md5": MD5} | changes)
        )

    return run


@pytest.fixture
def part(tmp_path):
    """Where what has come so far is kept."""
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache/weights.pth.part"


def names_in(folder):
    """Names of its files, without the lock that a failed download leaves."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_a_file_comes_whole_with_its_checksum_beside_it_and_nothing_else(fetch):
    path = fetch()
    assert path.read_bytes() == CONTENT
    assert sorted(path.name for path in path.parent.iterdir()) == ["weights.pth", "weights.pth.md5"]
    assert (path.parent / "weights.pth.md5").read_text() == f"{MD5}  weights.pth\n"
    assert md5_of(path) == MD5


def test_a_second_call_asks_nothing_of_the_server(site, fetch):
    fetch()
    before = len(site.requests)
    fetch()
    assert len(site.requests) == before == 1


def test_a_file_put_there_by_hand_is_taken_if_it_is_the_published_one(site, fetch, part):
    target = part.with_name("weights.pth")
    target.write_bytes(CONTENT)
    assert fetch() == target and not site.requests
    assert names_in(part.parent) == ["weights.pth", "weights.pth.md5"]


def test_a_file_put_there_by_hand_that_is_another_one_is_fetched_again(site, fetch, part):
    part.with_name("weights.pth").write_bytes(CONTENT[:-1] + b"x")
    assert fetch().read_bytes() == CONTENT and len(site.requests) == 1


def test_a_fetch_goes_on_where_it_stopped(site, fetch, part):
    part.write_bytes(CONTENT[:100_000])
    assert fetch().read_bytes() == CONTENT
    assert site.requests == [("/weights.pth", "bytes=100000-")]


def test_a_connection_that_breaks_keeps_what_came_and_the_next_call_fetches_the_rest(site, fetch, part):
    site.hangs_up_after = 120_000
    with pytest.raises(DownloadError, match="120,000 bytes are kept in .*weights.pth.part: run the same command again"):
        fetch()
    assert names_in(part.parent) == ["weights.pth.part"]
    site.hangs_up_after = None
    assert fetch().read_bytes() == CONTENT
    assert site.requests[-1] == ("/weights.pth", "bytes=120000-")


def test_a_broken_connection_is_noticed_where_the_size_is_not_published(site, fetch):
    site.hangs_up_after = 5
    with pytest.raises(DownloadError, match="the connection ended before all 300,000 bytes had come"):
        fetch(size_bytes=None, md5=None)


def test_a_server_that_cannot_resume_sends_all_again(site, fetch, part):
    site.knows_ranges = False
    part.write_bytes(b"z" * 100_000)  # were it kept, the checksum would not hold
    assert fetch().read_bytes() == CONTENT


@pytest.mark.parametrize("size_bytes", [300_000, None])
def test_what_is_kept_and_too_long_is_started_again(fetch, part, size_bytes):
    part.write_bytes(b"z" * 300_001)
    assert fetch(size_bytes=size_bytes).read_bytes() == CONTENT


def test_a_wrong_checksum_names_both_and_removes_the_file(fetch, part):
    with pytest.raises(DownloadError, match=f"MD5 is {MD5}, published is {'0' * 32}; .* was removed, try again"):
        fetch(md5="0" * 32)
    assert names_in(part.parent) == []


def test_fewer_bytes_than_published_say_how_many_and_to_run_again(fetch, part):
    with pytest.raises(DownloadError, match="before all 300,001 bytes had come.*300,000 bytes are kept.*run the same"):
        fetch(size_bytes=300_001)
    assert names_in(part.parent) == ["weights.pth.part"]


def test_more_bytes_than_published_are_another_file(fetch, part):
    with pytest.raises(DownloadError, match="300,000 bytes came, published are 299,999: another file"):
        fetch(size_bytes=299_999)
    assert names_in(part.parent) == []


def test_without_a_network_the_error_says_what_is_kept_and_what_to_do(part):
    part.write_bytes(CONTENT[:1234])
    # port 9 (discard) is closed on any machine of today
    with pytest.raises(DownloadError, match="cannot fetch http://127.0.0.1:9/x .*1,234 bytes are kept .*by hand into"):
        download("http://127.0.0.1:9/x", part.with_name("weights.pth"), 300_000, MD5)
    assert part.read_bytes() == CONTENT[:1234]


def test_a_page_that_is_not_there_is_named_with_its_status(site, tmp_path):
    with pytest.raises(DownloadError, match="cannot fetch http://\\S+/other.pth .*404"):
        download(f"{site.url}/other.pth", tmp_path / "other.pth")
    assert not (tmp_path / "other.pth").exists()


def test_several_that_want_the_same_file_all_get_it_and_it_is_fetched_once(site, fetch):
    with ThreadPoolExecutor(8) as pool:  # a lock of the file system: threads stand for processes
        paths = list(pool.map(lambda _: fetch(), range(8)))
    assert {path.read_bytes() for path in paths} == {CONTENT} and len(site.requests) == 1
    assert names_in(paths[0].parent) == ["weights.pth", "weights.pth.md5"]


def test_who_waited_for_a_download_that_failed_goes_on_with_it(site, fetch, part):
    site.hangs_up_after = 200_000
    with pytest.raises(DownloadError, match="200,000 bytes are kept"):
        fetch()
    site.hangs_up_after = None
    with ThreadPoolExecutor(3) as pool:
        assert {path.read_bytes() for path in pool.map(lambda _: fetch(), range(3))} == {CONTENT}
    assert [asked for _, asked in site.requests] == [None, "bytes=200000-"]


def test_a_place_that_cannot_be_written_is_named(site, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DownloadError, match="cannot write .*file.*weights.pth"):
        download(f"{site.url}/weights.pth", tmp_path / "file" / "weights.pth")


def zenodo_page(site):
    files = [
        {"key": "README.md", "size": 7, "checksum": f"md5:{'1' * 32}", "links": {"self": f"{site.url}/README.md"}},
        {"key": "weights.pth", "size": 300_000, "checksum": f"md5:{MD5}", "links": {"self": f"{site.url}/weights.pth"}},
    ]
    site.files["/records/77"] = json.dumps({"id": 77, "files": files}).encode()
    return f"{site.url}/records/{{record}}"


def test_a_zenodo_record_tells_address_size_and_checksum_of_a_file(site, tmp_path):
    file = zenodo_file("77", "weights.pth", api=zenodo_page(site))
    assert file == {"url": f"{site.url}/weights.pth", "size_bytes": 300_000, "md5": MD5}
    assert download(file["url"], tmp_path / "w.pth", file["size_bytes"], file["md5"]).read_bytes() == CONTENT


def test_a_zenodo_record_without_the_file_says_what_it_has(site):
    with pytest.raises(DownloadError, match="has no file 'wights.pth'; it has: README.md, weights.pth"):
        zenodo_file(77, "wights.pth", api=zenodo_page(site))


@pytest.mark.parametrize("content", [b"<html>maintenance</html>", b"[]", b'{"id": 77}'])
def test_a_page_that_is_no_record_is_refused_with_the_way_round_it(site, content):
    site.files["/records/77"] = content
    with pytest.raises(DownloadError, match="cannot read http://\\S+/records/77 .*by hand and give its path instead"):
        zenodo_file(77, "weights.pth", api=f"{site.url}/records/{{record}}")
