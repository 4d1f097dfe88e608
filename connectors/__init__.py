"""One folder per platform; `connectors/base.py` says what each must offer."""
