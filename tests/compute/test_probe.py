"""Right products pass in every dtype, and a wrong one is found."""

import pytest

from akidb_embeddings.compute.layers import Packed
from akidb_embeddings.compute.probe import ProductError, product_errors
from akidb_embeddings.compute.runtime import mx

CPU = mx.Device(mx.cpu)
NAMES = ["plain", "packed in 4 bits", "packed in 8 bits"]


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.float32])
def test_right_products_differ_by_rounding_alone(dtype: mx.Dtype) -> None:
    found = product_errors(CPU, dtype)
    assert [error.name for error in found] == NAMES
    assert all(error.largest < error.tolerance / 3 for error in found)
    if dtype == mx.float32:
        assert max(error.largest for error in found) < 1e-5


def test_a_wrong_packed_product_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    multiply = Packed.multiply

    def spoilt(matrix: Packed, x: mx.array) -> mx.array:
        """One of sixteen rows is that of its neighbour, as when a barrier is missing."""
        y = multiply(matrix, x)
        return mx.concatenate([y[:14], y[13:14], y[15:]]) if matrix.quantization.bits == 4 else y

    monkeypatch.setattr(Packed, "multiply", spoilt)
    assert [error.name for error in product_errors(CPU, mx.float32) if error.is_wrong] == ["packed in 4 bits"]


def test_a_product_that_is_not_a_number_is_wrong() -> None:
    assert ProductError("plain", float("nan"), 0.02).is_wrong
