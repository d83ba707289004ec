"""A model of which only the tokenizer is loaded, until a request needs more: see `LocalModel.load`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from personakit.models.devices import default_device
from personakit.models.environment import import_large, limit_threads, silence_libraries
from personakit.models.model_files import load_tokenizer, locate
from personakit.models.pretrained import load_pretrained, tokenizer_folder
from personakit.models.turns import end_tokens
from personakit.steps import step

if TYPE_CHECKING:
    from collections.abc import Callable

    from personakit.models.llama_files import LlamaFolder


@dataclass(frozen=True)
class LightModel:
    """What is known of a model of transformers before it is loaded, under transformers' names."""

    llama: LlamaFolder
    """Answers one prompt greedily."""
    load: Callable[[], Any]
    """Loads the model itself."""

    @property
    def dtype(self) -> str:
        """The number format, such as "float32"."""
        return self.llama.dtype

    @property
    def config(self) -> Any:
        """The number of positions, in the text model's configuration."""
        text = SimpleNamespace(max_position_embeddings=self.llama.context_window)
        return SimpleNamespace(get_text_config=lambda: text)

    @property
    def generation_config(self) -> Any:
        """The end tokens that the model declares."""
        return SimpleNamespace(eos_token_id=self.llama.declared_ends)


def load_light(
    name: str, *, adapter: Path | None = None, device: str = "auto"
) -> tuple[LightModel, Any, list[Path], str | None] | None:
    """Return what `load_pretrained` returns, without the model's weights.

    None if the model is no small Llama in a folder, for a CPU. Raises `UserError` like `load_pretrained`.
    """
    silence_libraries()
    import_large("torch")
    files = locate(name, adapter)
    if not Path(files.source).is_dir() or (default_device() if device == "auto" else device) != "cpu":
        return None
    from personakit.models.llama_files import find_llama

    with step(f"loading {name}"):
        limit_threads()
        llama = find_llama(Path(files.source), files.adapter)
        if llama is None:
            return None
        import_large("transformers.tokenization_utils_tokenizers")
        tokenizer = load_tokenizer(tokenizer_folder(files))
    if max(tokenizer.get_vocab().values(), default=0) >= llama.shape.vocab_size:
        return None  # an error, unless the tokens are special: `load_pretrained` decides
    load = partial(load_pretrained, name, adapter=adapter, device=device)
    light = LightModel(llama, lambda: load()[0])
    end_tokens(light, tokenizer)  # a broken chat template is an error now
    return light, tokenizer, list(files.folders), None
