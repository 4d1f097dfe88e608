"""Changes of the schema, in order of their numbers. A migration that has been released is never edited."""
