"""Text input: prompts, label lists, label banks, tokenizers. No torch."""
