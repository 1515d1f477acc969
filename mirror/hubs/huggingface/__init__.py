"""The Hugging Face Hub, spoken as its own clients expect it."""

from mirror.hubs.huggingface.hub import HuggingFace

__all__ = ["HuggingFace"]
