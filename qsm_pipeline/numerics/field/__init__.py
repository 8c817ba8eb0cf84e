"""From unwrapped phase to the total field and its reliability."""
