"""Write docs/images/page.png: the page in headless Chromium, after it has heard a recording.

python demo/screenshot.py --audio recording.wav [--caption] [--dark] [--width 390] [--out docs/images/page.png]
"""

import argparse
import contextlib
import shutil
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from serve import server_of  # noqa: E402

DEMO = Path(__file__).resolve().parent
# nothing but this page is asked for: no updates, no experiments, no accounts
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 120_000


def find_chromium():
    """Path of the system's Chromium, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def served(folder):
    """The address of a folder of the page, served as long as the block lasts, and the server."""
    server = server_of(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def browser(*flags):
    """A headless Chromium of the system, driven by playwright, which brings none of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=find_chromium(), headless=True, args=[*FLAGS, *flags])
        try:
            yield opened
        finally:
            opened.close()


def open_page(context, address):
    """A tab with the page, its model opened."""
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.wait_for_selector("html[data-model=ready]")
    return page


def give(page, path):
    """Give a recording to the page, and wait until it has been heard."""
    page.evaluate("delete document.documentElement.dataset.clip")
    page.set_input_files("#file", str(path))
    page.wait_for_selector("html[data-clip=ready]")


def take(options):
    """Write the picture."""
    look = {"width": options.width, "height": 800}
    with served(options.page) as (address, _), browser() as opened:
        scheme = "dark" if options.dark else "light"
        page = open_page(opened.new_context(viewport=look, color_scheme=scheme), address)
        give(page, options.audio)
        if options.caption:
            page.click("#describe")
            page.wait_for_function("document.getElementById('caption').textContent.length > 1")
        page.wait_for_selector("html[data-offline=ready]")
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=options.out, full_page=True)


def main(arguments=None):
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--audio", required=True, help="recording that the page hears")
    parser.add_argument("--page", default=DEMO / "dist", help="what build.py wrote (demo/dist)")
    parser.add_argument("--out", default=DEMO.parent / "docs" / "images" / "page.png")
    parser.add_argument("--caption", action="store_true", help="describe the recording, too")
    parser.add_argument("--dark", action="store_true", help="in dark colours")
    parser.add_argument("--width", type=int, default=1080, help="of the window; 390 is a phone's")
    take(parser.parse_args(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
