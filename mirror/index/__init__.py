"""Names: what upstream told us, kept so that it can be told again."""
