"""How tests build the toy method small."""

from tests.tiny_models import TinyMethod, tiny_clip_tokenizer


TINY = TinyMethod(lambda: dict(width=16), tiny_clip_tokenizer)
