"""Seals and opens what must not be read at rest.

`seal` and `open` turn a secret into a blob bound to its place and back; `mac` turns a handle into what the store may
keep; `ring` holds the versions of the data key; `rotate` changes them; `kms` says where the root key comes from.
Knows no table, no door and no policy: rows come in and go out as values.
"""
