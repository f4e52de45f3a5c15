"""YAML as plain values, whoever wrote it: what cannot be read is one kind of error, and anchors repeat only so much.

PyYAML's safe loader runs nothing, but it raises errors of many kinds (a date of the 13th month is a ValueError), and a
kilobyte of anchors within anchors stands for more values than there is memory for.
"""

from __future__ import annotations

from typing import Any

import yaml

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, which also has a limit for depth: the one in Python looks back at every open bracket with every letter."""
MOST_REPEATED = 100_000
"""Values that anchors may add to those that are written out. A recipe has some hundred in all."""

LONGEST_NUMBER = 100
"""Letters of a number; beyond it YAML's own base 60 takes time that grows with the square of them."""
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class DocumentError(ValueError):
    """What is wrong with a document, on one line; the caller names the file."""


def read_yaml(text: str | bytes) -> Any:
    """The values of a YAML document.

    Raises:
        DocumentError: it is none, or is larger than anybody means.
    """
    return read_nodes(text)[1]


def read_nodes(text: str | bytes) -> tuple[yaml.Node | None, Any]:
    """A YAML document as nodes, which know their lines, and as values.

    Raises:
        DocumentError: as `read_yaml`.
    """
    try:
        loader = LOADER(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, None
            _check_anchors(node)
            return node, loader.construct_document(node)
        finally:
            loader.dispose()
    except DocumentError:
        raise
    except RecursionError:
        raise DocumentError("its values stand too deep in one another") from None
    except (yaml.YAMLError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        raise DocumentError(" ".join(str(error).split()) or type(error).__name__) from error


def _check_anchors(root: yaml.Node) -> None:
    sizes: dict[int, int] = {}
    above: set[int] = set()

    def size(node: yaml.Node) -> int:
        """Of a node with all below it, those behind anchors counted each time."""
        if isinstance(node, yaml.ScalarNode):
            if node.tag in _NUMBERS and len(node.value) > LONGEST_NUMBER:
                raise DocumentError(f"line {node.start_mark.line + 1}: a number of {len(node.value)} letters")
            return 1
        if (known := sizes.get(id(node))) is not None:
            return known
        if id(node) in above:
            raise DocumentError(f"line {node.start_mark.line + 1}: an anchor stands within itself")
        above.add(id(node))
        inner = [n for pair in node.value for n in pair] if isinstance(node, yaml.MappingNode) else node.value
        sizes[id(node)] = 1 + sum(map(size, inner))
        written[0] += 1 + sum(isinstance(n, yaml.ScalarNode) for n in inner)
        above.remove(id(node))
        return sizes[id(node)]

    written = [0]
    if size(root) - written[0] > MOST_REPEATED:
        raise DocumentError(f"its anchors repeat more than {MOST_REPEATED} values; write out what is meant")
