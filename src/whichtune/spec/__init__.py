"""What a study asks for: frozen pydantic models, YAML with line numbers, overrides, hashes."""
