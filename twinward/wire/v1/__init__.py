"""Generated from proto/twinward/wire/v1; only this line is kept in the repository."""
