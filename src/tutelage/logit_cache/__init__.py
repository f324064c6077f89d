"""A teacher's logits on disk, and the proof that they still are what the teacher would say.

    source = cached_logits(Frozen(net), rows, epochs=30)    # answers from a file that fits, or live and says why
    logits = source.answers_for(batch)

A cache is legitimate only if the teacher never changes and its input is a function of the example and of the number
of its view. Both are tested at the start, every row's input is tested at every batch, and a file whose fingerprint
differs from what is present is refused.
"""

from .cached import CachedLogits as CachedLogits
from .cached import cached_logits as cached_logits
from .file import LogitFile as LogitFile
from .inputs import NotCacheable as NotCacheable
from .storage import Storage as Storage
