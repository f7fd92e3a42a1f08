"""GraphQL: one address for everything an API does, so what a call does is read from the document in its body.

Four steps, one file each: `envelope` (bytes to document text, operation name, variables, and back), `document` (text to
the fields that will be executed, fragments expanded, and our own print of it), `table` (what an API's fields are, and
which resource an argument names), `judge` (a field with its arguments to operations). `reader` puts them together.
"""
