"""``tinyclap doctor``: what is wrong with this installation, and the command that mends it."""

import json
import sys

from tinyclap.cli.exit_status import DONE, FAILED

DESCRIPTION = """Look at everything that tinyclap stands on: Python, the libraries and whether they can be imported,
the pair of torch and torchaudio, Java, the caches, the disks, the processor. For each fault it says
what is there, why it matters, and the command that mends it. Nothing is changed, and nothing is
asked of the network without --network."""
EXAMPLES = """examples:
  tinyclap doctor
  tinyclap doctor --for runtime              faults of other purposes are warnings, and torch is not looked at
  tinyclap doctor --for metrics train
  tinyclap doctor --space 20000 --folder /data/run
  tinyclap doctor --json | jq -r '.findings[] | select(.status == "fault") | .mend'

exit status: 0 without faults (there may be warnings), 1 with."""


def add_arguments(parser):
    """Add the options of the command."""
    parser.add_argument(
        "--for",
        dest="purposes",
        nargs="+",
        choices=("runtime", "train", "export", "metrics"),
        default=[],
        help="whose faults count (default: each whose libraries are installed; metrics only when named)",
    )
    parser.add_argument("--network", action="store_true", help="also see whether the servers of models answer")
    parser.add_argument("--space", type=int, metavar="MB", help="what must be free in --folder")
    parser.add_argument("--folder", default=".", help="where results will be written (default: here)")
    parser.add_argument("--all-checksums", action="store_true", help="read fetched files however large they are")
    parser.add_argument("--timeout", type=float, default=120.0, metavar="S", help="for one import (default: 120)")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")


def run(options):
    """Examine, report, and return the exit status."""
    from tinyclap.cli.doctor.examination import Examination, as_json, as_text

    examination = Examination(
        tuple(options.purposes),
        options.timeout,
        options.network,
        options.space,
        options.folder,
        options.all_checksums,
    )
    findings = examination.findings()
    report = as_json(findings, examination.purposes)
    text = json.dumps(report, indent=1) if options.json else as_text(findings, examination.purposes)
    sys.stdout.write(text + "\n")
    return FAILED if report["n_faults"] else DONE
