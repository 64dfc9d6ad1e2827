"""Which code an experiment's numbers come from: a digest of what it really uses of each module.

Only what ``one_seed`` reaches is counted, name by name and through imports, a name in an ``__init__`` being looked up
where it is defined: the texts of claims are free, and so is a function that no experiment calls. Comments, docstrings,
annotations, the layout, where a progress bar comes from and what an error says do not count: they change no number.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMPORT = ast.Import | ast.ImportFrom
COUNTED = ("mmtutor", "experiments")
LEFT_OUT = ("experiments.results", "experiments.code")  # what is done with the numbers, not where they come from
BARS = "mmtutor.data.progress"  # shows how far a run is; gives no number


def digests(experiment: str, root: Path = ROOT) -> dict[str, str]:
    """The digest of each module whose code gives the numbers of an experiment.

    Args:
        experiment: a module of this folder, such as ``fusion``, with a function ``one_seed``.
        root: the folder that has ``mmtutor`` and ``experiments``.

    Returns:
        Module name to 12 hexadecimal digits.

    Raises:
        NameError: a module has no such name; the run would end there, perhaps after an hour.
    """
    todo: list[tuple[str, str | None]] = [(f"experiments.{experiment}", "one_seed")]
    seen = set(todo)
    used: dict[str, set[int]] = {}  # module to the indices of its statements that count
    trees: dict[str, ast.Module] = {}
    while todo:
        module, name = todo.pop()
        if module not in trees:
            trees[module] = _Silent().visit(ast.parse(_file(root, module).read_text(encoding="utf-8")))
        reached = _reached(trees[module], name, module)
        used.setdefault(module, set()).update(reached)
        there = set(_needed(trees[module], reached, module, root)) - seen
        todo += there
        seen |= there
    code = {m: [trees[m].body[k] for k in sorted(used[m])] for m in sorted(used)}
    code = {m: [s for s in statements if not isinstance(s, IMPORT)] for m, statements in code.items()}
    return {m: _digest(statements) for m, statements in code.items() if statements}


def changed(stored: dict[str, str], experiment: str, root: Path = ROOT) -> list[str]:
    """The modules of which ``stored`` has another digest than the code that is there, in order."""
    there = digests(experiment, root)
    return sorted(m for m in stored.keys() | there.keys() if stored.get(m) != there.get(m))


def _file(root: Path, module: str) -> Path:
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _reached(tree: ast.Module, name: str | None, module: str) -> set[int]:
    """The statements of a module that a name of it needs; those that bind no name (but imports) count, too.

    All of them where the name is None, or bound in another way than by a definition or an assignment.
    """
    binds: dict[str, set[int]] = {}
    free = set()
    for k, statement in enumerate(tree.body):
        names = set(_bound(statement))
        for bound in names:
            binds.setdefault(bound, set()).add(k)
        guard = isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)
        if not names and not guard and not isinstance(statement, IMPORT):
            free.add(k)
    if name not in binds:
        if name and name[:2] != "__" and name not in {n for node in ast.walk(tree) for n in _bound(node)}:
            raise NameError(f"{module} has no {name!r}")
        return set(range(len(tree.body)))
    todo, found = [*free, *binds[name]], set(free)
    while todo:
        k = todo.pop()
        found.add(k)
        for node in ast.walk(tree.body[k]):
            if isinstance(node, ast.Name):
                todo += [j for j in binds.get(node.id, ()) if j not in found]
    return found


def _needed(tree: ast.Module, reached: set[int], module: str, root: Path) -> Iterator[tuple[str, str | None]]:
    """What these statements of a module need of others, as (module, name in it or None for all of it)."""
    nodes = [node for k in reached for node in ast.walk(tree.body[k])]
    names = [node.id for node in nodes if isinstance(node, ast.Name)]
    attributes = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    for statement in [*(s for s in tree.body if isinstance(s, IMPORT)), *nodes]:
        for target, name, bound in _imports(statement, module, root):
            parts = [node.attr for node in attributes if ast.unparse(node.value) == bound]
            if bound.split(".")[0] not in names and len(reached) < len(tree.body):
                continue
            if name is None and "." not in bound and 0 < len(parts) == names.count(bound):  # a module, for its names
                yield from (_defined(target, part, root) for part in parts)
            else:
                yield target, name


def _bound(statement: ast.AST) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
            yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))


def _imports(node: ast.AST, module: str, root: Path) -> Iterator[tuple[str, str | None, str]]:
    """What is imported, as (module, name in it or None for all of it, name here)."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.split(".")[0] in COUNTED and alias.name not in LEFT_OUT:
                yield alias.name, None, alias.asname or alias.name
    elif isinstance(node, ast.ImportFrom):
        package = module.split(".")
        if node.level:
            is_package = _file(root, module).name == "__init__.py"
            package = package[: len(package) - node.level + is_package]
            source = ".".join([*package, *([node.module] if node.module else [])])
        else:
            source = node.module or ""
        if source.split(".")[0] in COUNTED:
            for alias in node.names:
                target, name = _defined(source, alias.name, root)
                if target not in LEFT_OUT:
                    yield target, name, alias.asname or alias.name


def _defined(source: str, name: str, root: Path) -> tuple[str, str | None]:
    """Where a name of a module is defined: another module, all of it (name None), or a name of this one."""
    path = _file(root, source)
    if path.name == "__init__.py" and path.exists():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom):
                for target, there, bound in _imports(node, source, root):
                    if bound == name:
                        return target, there
    inner = f"{source}.{name}"
    if _file(root, inner).exists():
        return inner, None
    return source, name


class _Silent(ast.NodeTransformer):
    """Without docstrings and annotations, and without what an error says; a bar is one of tqdm."""

    def visit_Raise(self, node: ast.Raise) -> ast.stmt:
        return ast.copy_location(ast.Pass(), node)

    def visit_Expr(self, node: ast.Expr) -> ast.stmt | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)  # type: ignore[return-value]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        node.module = "tqdm" if node.module == BARS else node.module
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        self.generic_visit(node)
        return node


def _digest(statements: list[ast.stmt]) -> str:
    return hashlib.sha256("\n".join(map(ast.dump, statements)).encode()).hexdigest()[:12]
