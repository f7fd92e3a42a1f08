"""What everybody may do in a database without being granted it.

PostgreSQL gives PUBLIC rights that no role can be made without: temporary tables, large objects, functions that run as
their owner. A login of ours would have them too; so they are listed before a database is connected, and taken from
PUBLIC only when an administrator says so.
"""
