"""Getting files onto this machine, safely: hash, cache, extraction, atomic writes, fingerprints."""
