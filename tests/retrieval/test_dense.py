"""Dense retrieval with a tiny random BERT; nothing is downloaded."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch

from personakit.errors import UserError
from personakit.retrieval import open_retriever
from personakit.retrieval.dense import Dense
from personakit.retrieval.encoders import open_encoder
from tests.retrieval.users import ids, profile_of, query_of

WORDS = ["a", "cat", "dog", "rat", "bird", "sings", "sleeps"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate(["[PAD]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=8,
    )
    path = tmp_path_factory.mktemp("encoder")
    BertModel(config).save_pretrained(path)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        path
    )
    return path


def mean_vector(folder, text: str) -> np.ndarray:
    """The mean of one text's token vectors, by hand, without padding."""
    from transformers import AutoModel

    tokens = [WORDS.index(word) + 2 if word in WORDS else 1 for word in text.split()][:8]
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(folder).eval()(torch.tensor([tokens])).last_hidden_state[0]
    return hidden.mean(dim=0).numpy()


def test_embeddings_are_means_over_real_tokens_in_any_batch(folder):
    texts = ["a cat sleeps", "dog", "a bird sings a rat sleeps", "unknown", "a " * 40]
    vectors = open_encoder(str(folder), device="cpu", batch_size=3).encode(texts)
    np.testing.assert_allclose(vectors, [mean_vector(folder, text) for text in texts], atol=1e-5)


def test_items_are_ordered_by_dot_product(folder):
    documents = ["a cat sleeps", "dog", "a bird sings", "a rat", "bird bird"]
    scores = [mean_vector(folder, text) @ mean_vector(folder, "a cat") for text in documents]
    retriever = open_retriever(f"dense:{folder}", 3, device="cpu")
    contexts = retriever.context(
        [query_of("a cat"), query_of("a cat")], [profile_of(*documents), profile_of()]
    )
    assert ids(contexts[0]) == [f"i{place}" for place in np.argsort(scores)[::-1][:3]]
    assert contexts[1].empty


class CountingEncoder:
    """Vectors from the length of a text, and a list of what was encoded."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def encode(self, texts):
        self.seen.append(list(texts))
        return np.array([[float(len(text)), 1.0] for text in texts], dtype=np.float32)


def test_items_are_encoded_once_and_ties_keep_the_profiles_order():
    encoder = CountingEncoder()
    retriever = Dense(2, encoder)
    profile = profile_of("bb", "aaa", "ccc", "bb")
    first = retriever.context([query_of("x")], [profile])
    second = retriever.context([query_of("y")], [profile_of("dddd", "ccc")])
    assert ids(first[0]) == ["i1", "i2"]
    assert ids(second[0]) == ["i0", "i1"]
    assert encoder.seen == [["x"], ["bb", "aaa", "ccc"], ["y"], ["dddd"]]


def test_the_embedding_cache_is_a_bounded_lru():
    encoder = CountingEncoder()
    retriever = Dense(1, encoder, cached_items=2)
    for documents in (["a", "bb", "ccc"], ["ccc"], ["dddd"], ["ccc"], ["bb"]):
        retriever.context([query_of("q")], [profile_of(*documents)])
    assert [texts for texts in encoder.seen if texts != ["q"]] == [["a", "bb", "ccc"], ["dddd"], ["bb"]]


def test_the_cache_has_no_readable_text_and_can_be_cleared():
    encoder = CountingEncoder()
    retriever = Dense(1, encoder)
    for _ in range(2):
        retriever.context([query_of("q")], [profile_of("marmalade")])
        assert len(retriever._cache) == 1
        assert b"marmalade" not in pickle.dumps(retriever._cache)
        retriever.clear_cache()
    assert encoder.seen == [["q"], ["marmalade"], ["q"], ["marmalade"]]


@pytest.mark.parametrize("content", [None, "{}", '{"model_type": "no-such-model"}'])
def test_a_folder_without_a_model_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match="cannot be loaded"):
        open_retriever(f"dense:{tmp_path}", 1, device="cpu")


def test_a_sentence_transformers_model_is_run_by_its_library(folder, tmp_path):
    """With the library its configuration (here CLS pooling) is used; without it, an error says so."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    pooling = {
        "word_embedding_dimension": 16,
        "pooling_mode_cls_token": True,
        "pooling_mode_mean_tokens": False,
    }
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    try:
        import sentence_transformers  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(UserError, match="sentence-transformers") as caught:
            open_encoder(str(tmp_path), device="cpu")
        assert "personakit[dense]" in caught.value.hint
    else:
        found = open_encoder(str(tmp_path), device="cpu").encode(["a cat sleeps"])
        assert found.shape == (1, 16)
        assert np.abs(found[0] - mean_vector(folder, "a cat sleeps")).max() > 1e-3
