"""The Merkle tree of each chain: grown as records come, so that neither signing nor a proof walks the whole trail."""
