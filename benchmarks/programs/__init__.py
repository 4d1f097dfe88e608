"""The measured sides: ours, started as processes of their own, and the load that drives them."""
