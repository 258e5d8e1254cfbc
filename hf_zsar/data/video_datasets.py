"""Another name of `hf_zsar.clips.datasets`."""

import sys

from hf_zsar.clips import datasets


sys.modules[__name__] = datasets
