"""The `hf-zsar` command: a table of sub-commands, each a module of this package that is imported only when it is used.

A sub-command is a module with `add_arguments(parser)` and `run(args) -> int` (the exit status). Its one-line summary
stands in the table here, so that `hf-zsar --help` imports no sub-command at all.
"""

from __future__ import annotations
