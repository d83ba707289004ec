"""Retrieval: selects profile items for a query (BM25, dense, recency, random, none).

Retrievers read only `ProfileItem.document` and `Query.search_text`, so they need no task knowledge.
"""

from personakit.retrieval.open import open_retriever

__all__ = ["open_retriever"]
