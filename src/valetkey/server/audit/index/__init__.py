"""What records are found by: noted behind whoever appends, emptied and filled again at will."""
