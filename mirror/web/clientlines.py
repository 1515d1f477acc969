"""What to paste so that a client uses this mirror: one block of lines for each kind of client.

The documents say the same (``docs/hubs.md``, ``docs/hook.md``, README.md); a test holds the two together.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

# Where only the machine itself is reached.
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines for the clients that *who* names; *note* is said with them."""

    who: str
    text: str
    note: str = ""


def client_lines(base_url: str) -> tuple[Lines, ...]:
    """The lines for every kind of client that reaches the mirror at *base_url*."""
    parts = urlsplit(base_url)
    plain = parts.scheme != "https"
    trusted = f" --trusted-host {parts.netloc}" if plain and not reaches_itself(base_url) else ""
    insecure = " --insecure" if plain else ""
    return (
        Lines(
            "Hugging Face libraries and the hf command",
            f"export HF_ENDPOINT={base_url}\n"
            "hf download sentence-transformers/all-MiniLM-L6-v2 model.safetensors",
            "transformers, datasets, diffusers, sentence-transformers, vLLM and all else that is built on "
            "huggingface_hub.",
        ),
        Lines(
            "Hugging Face libraries, in Python",
            f'import os\n\nos.environ["HF_ENDPOINT"] = "{base_url}"',
            "Before the first import of one of them.",
        ),
        Lines(
            "Every other Python program",
            f'eval "$(modelmirror env --url {base_url})"',
            "The start-up hook leads Whisper, torch.hub, TensorFlow Hub, spacy download and kagglehub here.",
        ),
        Lines(
            "pip, for spaCy's models",
            f"pip install --find-links {base_url}/-/spacy/files/{trusted} en_core_web_sm==3.8.0",
        ),
        Lines(
            "PyTorch checkpoints",
            "torch.hub.load_state_dict_from_url(\n"
            f'    "{base_url}/-/torch/models/resnet18-f37072fd.pth", check_hash=True\n)',
        ),
        Lines("TensorFlow Hub", f'hub.load("{base_url}/-/tfhub/google/yamnet/1")'),
        Lines("Ollama", f"ollama pull{insecure} {parts.netloc}/library/llama3.2"),
        Lines(
            "docker run",
            f"docker run -e HF_ENDPOINT={base_url} IMAGE",
        ),
        Lines(
            "docker build",
            f"docker build --build-arg HF_ENDPOINT={base_url} .",
            "With ARG HF_ENDPOINT, never ENV, before the RUN that downloads: the image then does not name "
            "the mirror.",
        ),
    )


def reaches_itself(base_url: str) -> bool:
    """Whether *base_url* means the machine that asks, which containers and others cannot use."""
    return urlsplit(base_url).hostname in _LOOPBACK
