"""Tables, queries, bulk SQL, migrations and the embedded server. Knows `rewards/` and nothing above."""
