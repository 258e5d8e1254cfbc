"""`python -m hf_zsar.cli`: the same as `hf-zsar`."""

import sys

from . import main


sys.exit(main())
