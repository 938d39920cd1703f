"""A run told to people: tables, page, terminal, pictures."""
