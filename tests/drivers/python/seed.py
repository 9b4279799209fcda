"""Runs a SQL file: `seed.py URL FILE`."""

import sys
from pathlib import Path

import psycopg

with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    connection.execute(Path(sys.argv[2]).read_text(encoding="utf-8"))
