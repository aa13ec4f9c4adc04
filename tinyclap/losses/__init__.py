"""Training losses: contrastive, distillation, captioning."""
