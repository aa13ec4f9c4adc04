"""What ``tinyclap`` returns to the shell; scripts may rely on it."""

DONE = 0
FAILED = 1  # nothing more was done; one line on standard error says why
USAGE = 2  # an option is wrong (argparse's own)
SOME_FAILED = 3  # with --keep-going: some recordings were left out, each named on standard error
INTERRUPTED = 130  # Ctrl-C; what was finished is kept
