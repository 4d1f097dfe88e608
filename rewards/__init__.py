"""The rules: money, earning, ledger, occasions, codes. Pure: no I/O, no clock, standard library only."""
