"""YAML that somebody else wrote: the one reader, which makes plain values only, of bounded depth and size.

A few lines of YAML can stand for gigabytes, because an alias repeats all that its anchor names. So a text is first
read as events and measured with every alias written out; values are made only of what passes.
"""

from __future__ import annotations

import os
from typing import Any

from hf_zsar.processing.limits import hold_to
from hf_zsar.processing.text_files import TextFileError, read_text


def read_yaml(path: str | os.PathLike, words: bool = False) -> Any:
    """The value of a YAML file. Raises as [`read_text`] and [`parse_yaml`]."""
    return parse_yaml(read_text(path, limit="yaml_bytes"), os.fspath(path), words)


def parse_yaml(text: str, name: str, words: bool = False) -> Any:
    """The value of a YAML text: mappings, lists, strings, numbers, dates; no tag makes anything else.

    Args:
        name: what the text is, for messages.
        words: every scalar is text ("no" and "on" are words, not booleans).

    Raises:
        TextFileError: not YAML, a key twice in one mapping, or more than the limits `yaml_depth` and `yaml_values`
            allow, each alias counted as what it stands for.
    """
    import yaml

    base = getattr(yaml, "CBaseLoader" if words else "CSafeLoader", yaml.BaseLoader if words else yaml.SafeLoader)
    try:
        _measure(text, name, yaml, base)
        return yaml.load(text, _strict(yaml, base))  # noqa: S506 - a safe or a base loader, see above
    except TextFileError:
        raise
    except yaml.YAMLError as error:
        raise TextFileError(f"{name} is not YAML: {' '.join(str(error).split())}.") from error
    except (ValueError, OverflowError, RecursionError) as error:  # a date that is none, a number of 5000 digits
        raise TextFileError(f"{name} is not YAML: {error}.") from error


def _measure(text: str, name: str, yaml: Any, loader: type) -> None:
    """Refuse what is too deep or too large once written out, and aliases that stand within what they name."""
    known: dict[str, tuple[int, int]] = {}  # anchor -> values, levels
    still_open: list[list[Any]] = [[None, 0, 0]]  # anchor, values, levels below
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            still_open.append([event.anchor, 1, 0])
            anchor, values, levels = None, 0, 0
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in known:
                raise yaml.MarkedYAMLError(problem=f"*{event.anchor} names nothing", problem_mark=event.start_mark)
            anchor, (values, levels) = None, known[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            event.value.encode()  # half of a surrogate pair is not a character
            anchor, values, levels = event.anchor, 1, 0
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, values, levels = still_open.pop()
            levels += 1
        else:
            continue
        if anchor is not None:
            known[anchor] = values, levels
        parent = still_open[-1]
        parent[1], parent[2] = parent[1] + values, max(parent[2], levels)
        line = f"{name}, line {event.start_mark.line + 1}"
        depth = len(still_open) - 1 + levels
        hold_to("yaml_depth", depth, f"{line}: lists and mappings within each other", TextFileError)
        hold_to("yaml_values", parent[1], f"{line}: values, aliases written out", TextFileError)


def _strict(yaml: Any, base: type) -> type:
    class Loader(base):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    if key.value in seen:
                        problem = f"the key {key.value!r} appears twice"
                        raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                    seen.add(key.value)
            return super().construct_mapping(node, deep=deep)

    def integer(loader: Any, node: Any) -> int:
        value = loader.construct_yaml_int(node)
        str(value)  # a hexadecimal number may be read that no message could show
        return value

    if issubclass(base, yaml.constructor.SafeConstructor):
        Loader.add_constructor("tag:yaml.org,2002:int", integer)
    return Loader
