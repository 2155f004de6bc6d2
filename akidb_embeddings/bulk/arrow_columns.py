"""The columns of a Parquet output, and their values as Arrow arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def arrow_schema(empty: NDArray[Any], metadata: Mapping[str, Any], *, with_offsets: bool) -> Any:
    """Make the schema of an output.

    Args:
        empty: An array ``[0, values per row]`` of the vectors' type.
        metadata: What the schema's metadata is to say.
        with_offsets: Whether there are columns ``begin`` and ``end``.
    """
    import pyarrow as pa

    element = pa.field("element", pa.from_numpy_dtype(empty.dtype), nullable=False)
    fields = [
        pa.field("id", pa.string(), nullable=False),
        pa.field("vector", pa.list_(element, empty.shape[1]), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("truncated", pa.bool_(), nullable=False),
    ]
    if with_offsets:
        fields += [pa.field(name, pa.int64(), nullable=False) for name in ("begin", "end")]
    return pa.schema(fields, metadata={name: str(value) for name, value in metadata.items()})


def arrow_array(values: Any, kind: Any) -> Any:
    """Make an Arrow array from Python or NumPy values without None.

    ``pyarrow.array`` would load pandas if it is installed: 70 MB at the end of a job.
    """
    import pyarrow as pa

    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(arrow_array(values.ravel(), kind.value_type), type=kind)
    if pa.types.is_string(kind):
        encoded = [value.encode() for value in values]
        offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
        return pa.Array.from_buffers(kind, len(encoded), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))])
    data = (
        np.packbits(values, bitorder="little")
        if pa.types.is_boolean(kind)
        else np.ascontiguousarray(values, kind.to_pandas_dtype())
    )
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(data)])
