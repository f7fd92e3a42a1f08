"""Asks a database the same again and again with psycopg, as an agent would that held its password.

Runs in an environment of its own, told by lines: `new N` asks N times, each on a connection of its own, `kept N` on
one. Answers with the milliseconds of each as JSON. The address comes in DATABASE_URL.
"""

import json
import os
import sys
import time

import psycopg

URL, STATEMENT = os.environ["DATABASE_URL"], sys.argv[1]


def asked(connection: psycopg.Connection) -> None:
    """One question, read to its end in a transaction of its own."""
    with connection.transaction():
        connection.execute(STATEMENT).fetchall()


with psycopg.connect(URL) as kept:
    for line in sys.stdin:
        how, times = line.split()
        found = []
        for _ in range(int(times)):
            began = time.perf_counter()
            if how == "new":
                with psycopg.connect(URL) as one:
                    asked(one)
            else:
                asked(kept)
            found.append((time.perf_counter() - began) * 1000)
        print(json.dumps(found), flush=True)
