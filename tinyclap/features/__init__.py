"""Log-mel front ends, resampling and windows on torch tensors."""
