"""What surrounds a training run: command line, run folder, provenance, schedules."""
