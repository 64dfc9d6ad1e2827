"""Holds shape comments to account: runs a module with each ``x = f(y)  # (B, T, 2 d)`` compared with the tensor.

The source is rewritten before it runs, so that each value with such a comment passes through `Call.see`. Within one
call of a function a letter has one value; a letter that is also a whole number among the function's variables has that
one's. A letter with an index, such as ``d_m``, may change from one turn of a loop to the next. ``...`` stands for any
number of axes.
"""

from __future__ import annotations

import ast
import importlib
import io
import re
import sys
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from itertools import combinations
from pathlib import Path
from types import CodeType, ModuleType

from torch import Tensor
from torch.distributions import Distribution

TUPLE = re.compile(r"#\s*\(([^()]*,[^()]*|\s*)\)")  # what begins like a shape
FACTOR = re.compile(r"\s*[*·]?\s*(\d+|[^\W\d]\w*['′]?)")
DOTS = ("...", "…")
Dim = list[tuple[int, list[str]]]  # a sum of products: a number times letters


def read_shape(comment: str) -> list[Dim | None] | None:
    """The axes that a comment names, None for any number of them; None if it names no shape at all."""
    if (match := TUPLE.match(comment)) is None:
        return None
    if match.end() != len(comment.rstrip()):
        raise ValueError("a shape comment is a shape and nothing else")
    axes = [part.strip() for part in match[1].split(",")]
    axes = axes[:-1] if axes[-1] == "" else axes
    if sum(axis in DOTS for axis in axes) > 1:
        raise ValueError("only one axis can be ...")
    return [None if axis in DOTS else read_dim(axis) for axis in axes]


def read_dim(text: str) -> Dim:
    """A sum such as ``2 d``, ``T - 1`` or ``B R + 1``."""
    terms: Dim = []
    for sign, term in re.findall(r"([+\-−]|^)([^+\-−]+)", text):
        number, letters, end = (1 if sign in ("", "+") else -1), [], 0
        while factor := FACTOR.match(term, end):
            end = factor.end()
            if factor[1].isdigit():
                number *= int(factor[1])
            else:
                letters.append(factor[1])
        if term[end:].strip() or not end:
            break
        terms.append((number, letters))
    else:
        if terms and not re.search(r"[+\-−]\s*$", text):
            return terms
    raise ValueError(f"cannot read the axis {text!r}")


@dataclass
class Watch:
    """What is known of the shape comments of some files."""

    lines: dict[str, str] = field(default_factory=dict)  # "file:line" to comment
    seen: set[str] = field(default_factory=set)
    differ: dict[tuple[str, str, str], bool] = field(default_factory=dict)  # line and two letters: ever unequal?
    faults: list[str] = field(default_factory=list)

    @property
    def unseen(self) -> list[str]:
        """Lines whose comment was never compared with anything."""
        return [f"{where}: {self.lines[where]}" for where in self.lines if where not in self.seen]

    @property
    def alike(self) -> list[str]:
        """Lines with two letters that had the same value in each call: had they changed places, nobody would know."""
        pairs = [f"{where}: {a} = {b} in {self.lines[where]}" for (where, a, b), no in self.differ.items() if not no]
        return sorted(pairs)

    def call(self) -> Call:
        """One call of a function begins."""
        return Call(self)


@dataclass
class Call:
    """The letters of one call of a function."""

    watch: Watch
    letters: dict[str, int] = field(default_factory=dict)
    open: list[tuple[str, Dim, int]] = field(default_factory=list)  # axes with more than one letter not yet known

    def turn(self) -> None:
        """A loop begins its next turn: letters with an index are free again."""
        self.letters = {name: value for name, value in self.letters.items() if "_" not in name}
        self.open = [row for row in self.open if not any("_" in name for _, names in row[1] for name in names)]

    def see(self, where: str, value: object, variables: Mapping[str, object]) -> object:
        """Compare a value with the comment on its line, and hand it on."""
        comment = self.watch.lines[where]
        if isinstance(value, Distribution):
            shape = (*value.batch_shape, *value.event_shape)
        elif isinstance(value, Tensor):
            shape = tuple(value.shape)
        elif value is None:
            return value
        else:
            self.watch.faults.append(f"{where}: {comment} is said of a {type(value).__name__}, not of a tensor")
            return value
        self.watch.seen.add(where)
        axes = read_shape(comment) or []
        if None in axes:
            at, more = axes.index(None), len(shape) - len(axes) + 1
            axes = axes if more < 0 else [*axes[:at], *([[]] * more), *axes[at + 1 :]]
        if len(axes) != len(shape):
            self.watch.faults.append(f"{where}: {comment} is {shape}")
            return value
        letters = sorted({name for dim in axes if dim for _, names in dim for name in names})
        for letter in letters:
            number = variables.get(letter)
            if isinstance(number, int) and not isinstance(number, bool):
                self.letters[letter] = number
        self.open += [(where, dim, size) for dim, size in zip(axes, shape, strict=True) if dim]
        while any(self.settle(row) for row in list(self.open)):
            pass
        for a, b in combinations([name for name in letters if name in self.letters], 2):
            pair = (where, a, b)
            self.watch.differ[pair] = self.watch.differ.get(pair, False) or self.letters[a] != self.letters[b]
        return value

    def settle(self, row: tuple[str, Dim, int]) -> bool:
        """Compare one axis if its letters are known, or find the one that is not; true if there was news."""
        where, dim, size = row
        rest, factor, unknown = size, 0, set()
        for number, names in dim:
            free = [name for name in names if name not in self.letters]
            for name in names:
                number *= self.letters.get(name, 1)
            unknown |= set(free)
            factor, rest = (factor + number, rest) if free else (factor, rest - number)
            if len(free) > 1:
                return False
        if len(unknown) > 1:
            return False
        self.open.remove(row)
        if unknown and factor and rest % factor == 0 and rest // factor >= 0:
            self.letters[unknown.pop()] = rest // factor
        elif unknown or rest:
            known = ", ".join(f"{k} = {v}" for k, v in sorted(self.letters.items()))
            self.watch.faults.append(f"{where}: {self.watch.lines[where]} has an axis of {size}, where {known}")
        return True


class Rewrite(ast.NodeTransformer):
    """Lets each assignment and return with a shape comment pass through `Call.see`."""

    def __init__(self, name: str, source: str, watch: Watch) -> None:
        self.name, self.watch = name, watch
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        self.comments: dict[int, str] = {}
        for token in tokens:
            if token.type == tokenize.COMMENT:
                try:
                    shape = read_shape(token.string)
                except ValueError as error:
                    watch.faults.append(f"{name}:{token.start[0]}: {token.string}: {error}")
                else:
                    if shape is not None:
                        self.comments[token.start[0]] = token.string
        self.free = dict(self.comments)

    def see(self, node: ast.stmt, value: ast.expr) -> ast.expr:
        """The value, seen."""
        assert node.end_lineno is not None
        comment = self.free.pop(node.end_lineno, None)
        if comment is None:
            return value
        where = f"{self.name}:{node.end_lineno}"
        self.watch.lines[where] = comment
        seen = ast.parse(f"_shapes_.see({where!r}, 0, locals())", mode="eval").body
        assert isinstance(seen, ast.Call)
        seen.args[1] = value
        return ast.fix_missing_locations(ast.copy_location(seen, value))

    def simple(self, node: ast.Return | ast.Assign | ast.AnnAssign) -> ast.stmt:
        """`x = value`, `x: Tensor = value` and `return value`; several targets have no shape."""
        several = isinstance(node, ast.Assign) and (len(node.targets) > 1 or not isinstance(node.targets[0], ast.Name))
        if node.value is not None and not several:
            node.value = self.see(node, node.value)
        return node

    visit_Return = visit_Assign = visit_AnnAssign = simple  # noqa: N815

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.stmt:
        """Each call has letters of its own."""
        self.generic_visit(node)
        return self.begin(node, "_shapes_ = __watch__.call()", int(ast.get_docstring(node, clean=False) is not None))

    def visit_For(self, node: ast.For) -> ast.stmt:
        """Each turn has indexed letters of its own."""
        self.generic_visit(node)
        return self.begin(node, "_shapes_.turn()", 0)

    def begin(self, node: ast.FunctionDef | ast.For, statement: str, at: int) -> ast.stmt:
        """Put a statement into the body, if there are shape comments at all."""
        if self.comments:
            node.body.insert(at, ast.fix_missing_locations(ast.copy_location(ast.parse(statement).body[0], node)))
        return node


def rewrite(name: str, source: str, watch: Watch) -> ast.Module:
    """The program, so that it tells of each value with a shape comment; `name` is what the file is called."""
    rewriter = Rewrite(name, source, watch)
    tree = rewriter.visit(ast.parse(source))
    for line, comment in rewriter.free.items():
        watch.faults.append(f"{name}:{line}: {comment} stands at no `name = value` and no `return value`")
    return tree


def prepare(namespace: dict[str, object], watch: Watch) -> dict[str, object]:
    """Where a rewritten program can run."""
    namespace |= {"__watch__": watch, "_shapes_": watch.call()}
    return namespace


class Loader(SourceFileLoader):
    """Loads a module rewritten."""

    def __init__(self, name: str, path: Path, shown: str, watch: Watch) -> None:
        super().__init__(name, str(path))
        self.shown, self.watch = shown, watch

    def get_code(self, fullname: str) -> CodeType:
        """Never from a cache."""
        source = Path(self.path).read_text(encoding="utf-8")
        return compile(rewrite(self.shown, source, self.watch), self.path, "exec")

    def exec_module(self, module: ModuleType) -> None:
        """The module's variables come first."""
        prepare(module.__dict__, self.watch)
        super().exec_module(module)


class Finder:
    """Finds the modules of some paths, files or folders, below a root."""

    def __init__(self, root: Path, parts: Sequence[str], watch: Watch) -> None:
        self.root, self.parts, self.watch = root, parts, watch

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """As `sys.meta_path` asks for it."""
        base = self.root / name.replace(".", "/")
        file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        shown = file.relative_to(self.root).as_posix()
        if not file.exists() or not any(shown == part or shown.startswith(f"{part}/") for part in self.parts):
            return None
        loader = Loader(name, file, shown, self.watch)
        return spec_from_file_location(name, file, loader=loader)


@contextmanager
def watched(root: Path, parts: Sequence[str]) -> Iterator[tuple[Watch, list[ModuleType]]]:
    """The modules below `root` that `parts` name, imported anew and rewritten while the context lasts."""
    watch = Watch()
    package = parts[0].partition("/")[0]
    own = lambda: [name for name in sys.modules if name.partition(".")[0] == package]  # noqa: E731
    before = {name: sys.modules.pop(name) for name in own()}
    finder = Finder(root, parts, watch)
    sys.meta_path.insert(0, finder)
    try:
        files = [f for part in parts for f in ([root / part] if part.endswith(".py") else (root / part).rglob("*.py"))]
        names = [".".join(file.relative_to(root).with_suffix("").parts) for file in sorted(files)]
        yield watch, [importlib.import_module(name.removesuffix(".__init__")) for name in names]
    finally:
        sys.meta_path.remove(finder)
        for name in own():
            del sys.modules[name]
        sys.modules |= before
