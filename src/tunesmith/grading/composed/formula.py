"""Arithmetic over the scores of graders: ``0.7 * right + max(short, polite) / 2``."""

import ast
import math
import operator
from collections.abc import Callable, Mapping

_OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}
MAX_LENGTH = 1000


def parse(text: str) -> ast.expr | None:
    """The formula as a tree, ``^`` meaning a power; None for what is none."""
    try:
        tree = ast.parse(text.strip().replace("^", "**"), mode="eval").body if len(text) <= MAX_LENGTH else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return tree if tree is not None and _sound(tree) else None


def names(tree: ast.expr) -> set[str]:
    """The graders that a formula names."""
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in functions}


def value(tree: ast.expr, scores: Mapping[str, float]) -> float:
    """
    Raises:
        ArithmeticError, ValueError: it has no value at these scores.
    """
    match tree:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return scores[name]
        case ast.UnaryOp(op=sign, operand=operand):
            return -value(operand, scores) if isinstance(sign, ast.USub) else value(operand, scores)
        case ast.BinOp(left=left, op=operation, right=right):
            return _OPERATIONS[type(operation)](value(left, scores), value(right, scores))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return float(FUNCTIONS[name](*(value(argument, scores) for argument in arguments)))
    raise AssertionError("parse lets nothing else through")


def _sound(tree: ast.expr) -> bool:
    match tree:
        case ast.Constant(value=int() | float() as number):
            return not isinstance(number, bool) and abs(number) <= 1e9
        case ast.Name():
            return True
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return _sound(operand)
        case ast.BinOp(left=left, op=operation, right=right):
            return type(operation) in _OPERATIONS and _sound(left) and _sound(right)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            counts = len(arguments) >= 1 if name in ("min", "max") else len(arguments) == 1
            return counts and all(map(_sound, arguments))
    return False
