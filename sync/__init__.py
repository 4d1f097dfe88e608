"""Applies changes, reads history, runs occasions, pushes and verifies codes, reconciles; and the jobs that do so."""
