"""BIDS in and out: indexing, metadata checks, phase scaling, output names, sidecars."""
