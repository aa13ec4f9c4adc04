"""Training runs: command line, run folder, provenance, learning-rate schedules, weight average."""
