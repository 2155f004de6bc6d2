"""Fit the coefficients in ``akidb_embeddings/compute/polynomial.py`` and print their errors.

GELU, GELU-tanh and SiLU are all ``x * S(x)`` with a sigmoid-shaped ``S`` whose ``S(x) - 1/2`` is odd. So
``S(x) = 1/2 + y P(y^2) / Q(y^2)`` with ``y = clip(x, -c, c)``: multiply, add and one divide, all of which a compiler
vectorizes, where erf, tanh and exp are called element by element. ``2^f`` on [-1/2, 1/2] is a polynomial.

Run: ``python scripts/fit_kernels.py`` (NumPy and the standard library only).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev, polynomial

Array = Any  # NumPy's shapes and dtypes say nothing here


def gelu_gate(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def gelu_tanh_gate(x: float) -> float:
    return 0.5 * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def silu_gate(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def fit_rational(gate: Callable[[float], float], clip: float, p: int, q: int) -> tuple[Array, Array]:
    """P (degree p) and Q (degree q, constant term 1) with ``gate(x) - 1/2 = x P(x^2) / Q(x^2)`` on [0, clip].

    Lawson's iteration over a linearized weighted least-squares problem, which tends to the minimax solution of
    ``max(1, x) * error``: the value of ``x * S(x)`` is what must be right to float32 rounding.
    """
    x = clip * np.sin(np.linspace(1e-4, np.pi / 2, 6000))
    target = np.array([gate(v) - 0.5 for v in x])
    t = x * x / clip**2
    importance = np.maximum(1.0, x)
    lawson, denominator = np.full_like(x, 1.0 / x.size), np.ones_like(x)
    best: tuple[float, Array, Array] = (np.inf, np.zeros(1), np.zeros(1))
    for _ in range(400):
        weight = np.sqrt(lawson) * importance / np.abs(denominator)
        columns = [x * t**k for k in range(p + 1)] + [-target * t**k for k in range(1, q + 1)]
        solution, *_ = np.linalg.lstsq(np.stack(columns, 1) * weight[:, None], target * weight, rcond=None)
        above, below = solution[: p + 1], np.concatenate([[1.0], solution[p + 1 :]])
        denominator = polynomial.polyval(t, below)
        error = np.abs(x * polynomial.polyval(t, above) / denominator - target) * importance
        if error.max() < best[0] and denominator.min() > 0:
            best = (float(error.max()), above, below)
        lawson *= error + 1e-12
        lawson /= lawson.sum()
    scale = clip**2
    return best[1] / scale ** np.arange(p + 1), best[2] / scale ** np.arange(q + 1)


def evaluate(x: Array, clip: float, above: Array, below: Array) -> Array:
    """``x * S(x)`` in float32, operation by operation as the kernel does it."""
    f = np.float32
    y = np.clip(x, f(-clip), f(clip))
    t = y * y

    def horner(c: Array) -> Array:
        value = t * f(c[-1]) + f(c[-2])
        for k in c[-3::-1]:
            value = value * t + f(k)
        return value

    return x * (y * (horner(above) / horner(below)) + f(0.5))


def fit_exp2(degree: int) -> Array:
    half: Any = lambda f: 2.0 ** (f / 2)  # noqa: E731  (NumPy's stubs want a scalar function)
    return chebyshev.cheb2poly(chebyshev.chebinterpolate(half, degree)) * 2.0 ** np.arange(degree + 1)


def main() -> None:
    for name, gate, clip, p, q in (
        ("gelu", gelu_gate, 5.5, 6, 4),
        ("gelu_tanh", gelu_tanh_gate, 5.0, 5, 4),
        ("silu", silu_gate, 18.0, 4, 4),
    ):
        above, below = fit_rational(gate, clip, p, q)
        x = np.linspace(-30, 30, 200_001).astype(np.float32)
        exact = np.array([v * gate(v) for v in x.tolist()])
        error = np.abs(evaluate(x, clip, above, below) - exact) / np.maximum(1.0, np.abs(x))
        print(f"{name}: clip {clip}, P {above.tolist()}, Q {below.tolist()}")
        print(f"  largest error over max(1, |x|): {error.max():.2e}")
    coefficients = fit_exp2(5)
    f = np.linspace(-0.5, 0.5, 100_001)
    error = np.abs(polynomial.polyval(f, coefficients) / 2.0**f - 1.0)
    print(f"exp2: {coefficients.tolist()}\n  largest relative error: {error.max():.2e}")


if __name__ == "__main__":
    main()
