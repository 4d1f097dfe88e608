"""How fast we are, beside what the same machine can do: each figure of ours next to that of a bare limit program."""
