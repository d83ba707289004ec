"""Retrieval: which of a user's items a model is shown (BM25, dense, recency, random, none).

Reads only `ProfileItem.document` and `Query.search_text`, so it needs to know no task.
"""

from personakit.retrieval.open import open_retriever

__all__ = ["open_retriever"]
