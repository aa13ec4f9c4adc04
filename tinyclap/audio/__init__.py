"""Audio input: reading, resampling, windows, batches, finding files. No torch."""
