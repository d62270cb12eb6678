r"""A client's own words in an answer: cut, quoted, and in characters that UTF-8 can hold.

said(refusal)       # "inputs[0][2]: expected a number, got a string"
utf8("\ud800")      # "?"
"""

from serving.errors import Refusal

LONGEST = 100  # characters of a client's own word that an answer repeats


def utf8(text: str) -> str:
    """Return a text that UTF-8 can hold: JSON can name half of a surrogate pair, and no reply can repeat it."""
    return text.encode(errors="replace").decode()


def said(refusal: Refusal) -> str:
    """Return a refusal in one text, the path of the field in front, for protocols that have no place for it."""
    return utf8(f"{refusal.field}: {refusal}" if refusal.field else str(refusal))


def cut(text: str, longest: int = LONGEST) -> str:
    """Return a client's own word, cut where it is long."""
    return text if len(text) <= longest else text[:longest] + "…"


def shown(text: str) -> str:
    """Return a client's own word in quotes, cut where it is long."""
    return f'"{cut(text)}"'
