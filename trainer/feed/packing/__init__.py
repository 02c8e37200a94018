"""From a row group to packed matrices: decode, convert, transpose, pack, and the buffers used for it.

It must not know the order of rows. Open `decoder` first.
"""
