"""A person's own texts from where they lie: mail, chats, git, notes, pairs of draft and final text.

`sources.py` is the table of the formats; `importing.py` turns one of them into a profile, a data folder and a
style card.
"""
