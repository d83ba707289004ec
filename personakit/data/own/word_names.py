"""First names and surnames that are also everyday words of English or German."""

from __future__ import annotations

#: Written with a capital letter as words, too: German nouns, months.
_NOUNS = """
    april art august bach bauer baum berg bischof blume christian engel fall feld fuchs graf hahn heide
    herbst juli july june juni kaiser koch kraft kunst könig mai march may richter ring rose schmied
    schneider sommer sonne sonntag stein stern strauss sun tag ton viola vogel wald winter wolf zorn
"""
#: Written in lower case within a sentence unless they are names.
_OTHERS = """
    amber angel baker banks bell bill bin bird bishop black bliss braun brook brooks brown buck can carol
    cash chance chase chip church clay cliff cook crystal daisy dale dawn day dean drew duke
    earl ernst faith fast fern field fisher ford fox frank free frei frost gay gene ginger glen gold
    grace grant gray green grey gross guy harmony hat heather holly hope hunter iris ivy jack
    jade jasmine joy jung king klein knight kurz kühn lance land lane lang lee lily link little long
    mark max mercy miles more new noble olive page park pat patience pearl penny piper pool price prince
    queen ray reed reich rice rich rob robin rod root rot rusty sage said sandy schwarz scout shepherd
    short skip sky small son song spring star stark stone story sue summer sunny swan tell than turner
    violet wade walker ward was weiss wer west white wie will wise wood woods young
"""
#: Words of a name and an s: Les, Doe, Thi.
_WITH_S = "alas does jeans kiss lens less mars this thus"

CAPITALISED = frozenset(_NOUNS.split())
PLAIN = frozenset(f"{_OTHERS} {_WITH_S}".split())
