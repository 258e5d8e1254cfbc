"""Another name of `hf_zsar.clips.frame_cache`."""

import sys

from hf_zsar.clips import frame_cache


sys.modules[__name__] = frame_cache
