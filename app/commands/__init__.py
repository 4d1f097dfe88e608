"""The commands of `perennial`, one module per subject; `app/cli.py` loads a module when its command is asked for."""
