"""Serve the page on this machine: python demo/serve.py, then open http://127.0.0.1:8000

Builds the page first where it is not built or older than its sources. Any static host does as well; this one sends
the two headers that let the page use several threads.
"""

import argparse
import http.server
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import build  # noqa: E402

from tinyclap.errors import TinyclapError  # noqa: E402


class PageHandler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, isolated from other sites, and asked for again after every build."""

    protocol_version = "HTTP/1.1"
    extensions_map = {  # what some systems' tables lack
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".js": "text/javascript",
        ".wasm": "application/wasm",
        ".webmanifest": "application/manifest+json",
    }

    def end_headers(self):
        """Add the headers that threads need."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *arguments):
        """Say nothing of each file."""


def server_of(folder, port=0, host="127.0.0.1"):
    """A server of a folder, not yet running; port 0 takes a free one."""

    def handler(*arguments):
        return PageHandler(*arguments, directory=str(folder))

    return http.server.ThreadingHTTPServer((host, port), handler)


def is_current(out):
    """Whether the built page is younger than its sources and the shipped model."""
    contents = Path(out) / "contents.json"
    sources = [build.DEMO / name for name in ("build.py", *build.PAGE)] + sorted((build.DEMO / "js").glob("*.js"))
    sources.append(build.find_folder(build.DEFAULT_MODEL) / "config.json")
    return contents.is_file() and all(path.stat().st_mtime <= contents.stat().st_mtime for path in sources)


def main(arguments=None):
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for other machines, which then need https")
    parser.add_argument("--out", default=build.DEMO / "dist", help="folder of the page (demo/dist)")
    parser.add_argument("--model", help="build from this exported folder")
    parser.add_argument("--captioner", help="build with this exported captioner")
    options = parser.parse_args(arguments)
    try:
        if options.model or options.captioner or not is_current(options.out):
            build.build(options.model or build.DEFAULT_MODEL, options.captioner, options.out)
        server = server_of(options.out, options.port, options.host)
    except (TinyclapError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    sys.stdout.write(f"Open http://{options.host}:{server.server_address[1]} (stop with Ctrl-C)\n")
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.stdout.write("\n")
    finally:
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
