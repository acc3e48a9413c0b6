"""From a row in a source to a batch: sources, splits, cleaning, encoding, layout, collation."""
