"""PILLOW (arXiv 2312.05621): a matching network that selects prompts for a LoRA-tuned model."""
