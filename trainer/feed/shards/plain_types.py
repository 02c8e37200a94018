"""Arrow types without their encodings: the same values are stored as plain columns, dictionaries or views."""

from __future__ import annotations

import pyarrow as pa


def plain_type(arrow: pa.DataType) -> pa.DataType:
    """An Arrow type without its encoding: a dictionary is its values, a large string a string."""
    if pa.types.is_dictionary(arrow):
        return plain_type(arrow.value_type)
    if pa.types.is_large_string(arrow) or pa.types.is_string_view(arrow):
        return pa.string()
    if pa.types.is_large_binary(arrow) or pa.types.is_binary_view(arrow):
        return pa.binary()
    if pa.types.is_large_list(arrow) or pa.types.is_list(arrow):
        return pa.list_(plain_type(arrow.value_type))
    if pa.types.is_fixed_size_list(arrow):
        return pa.list_(plain_type(arrow.value_type), arrow.list_size)
    return arrow


def is_view(arrow: pa.DataType) -> bool:
    """Whether a type is Arrow's view of strings or bytes."""
    return bool(pa.types.is_string_view(arrow) or pa.types.is_binary_view(arrow))


def has_encoding(arrow: pa.DataType) -> bool:
    """Whether a type, or one nested in it, is a dictionary or a view."""
    nested = (arrow.field(i).type for i in range(arrow.num_fields))
    return bool(pa.types.is_dictionary(arrow) or is_view(arrow) or any(map(has_encoding, nested)))
