"""Phase before unwrapping: offset, readout polarity and quality."""
