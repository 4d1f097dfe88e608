"""The lane: find the store, verify, keep once, answer; then the inbox and its draining."""
