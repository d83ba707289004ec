"""The recipe of `voice`, the built-in rewriter: `make voice`.

content.yaml   sentences, phrases and spellings
drafts.py      neutral texts: notes, posts and e-mails
phrases.py     how texts begin and end, and spellings
writers.py     how one person writes, and a draft written that way
examples.py    training data: a draft, posts of one writer, and the draft as that writer would write it
__main__.py    generates, trains (`personakit train rpo`), scores, and writes the shipped folder
"""
