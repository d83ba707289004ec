"""PILLOW (arXiv 2312.05621): a matching network that learns which prompts pay, over a LoRA-tuned model."""
