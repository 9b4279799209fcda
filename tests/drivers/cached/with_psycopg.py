"""psycopg: statements bound by the server and by the client, prepared ones, binary ones, pipelines."""

import os

import psycopg

CONNECTION = f"host=127.0.0.1 port={os.environ['PORT']} user=postgres dbname=postgres connect_timeout=20"
HINT = "/* pgtally:cache ttl=60s tags=product */"
ONE = f"SELECT * FROM cached_product WHERE id = %s {HINT}"
SUM = f"SELECT count(*), sum(price) FROM cached_product WHERE id <= %s {HINT}"


def reads(db):
    """Each form until it comes from the cache."""
    for _ in range(4):
        print(db.execute(SUM, [20]).fetchone())
        print(db.execute(ONE, [7], prepare=False).fetchall())
        print(db.execute(ONE, [8], prepare=True).fetchall())
        print(db.execute(ONE, [9], binary=True).fetchall())
        print(db.execute(ONE, [-1]).fetchall())
        with psycopg.ClientCursor(db) as cursor:
            print(cursor.execute(ONE, [10]).fetchall())
        with psycopg.RawCursor(db) as cursor:
            print(cursor.execute(ONE.replace("%s", "$1"), [11]).fetchall())


def pipeline(db):
    """More than one answer at a time cannot come from the cache, and must not be in disorder."""
    with db.pipeline():
        cursors = [db.execute(ONE, [number]) for number in (7, 8, 9)]
        print([cursor.fetchall() for cursor in cursors])
    print(db.execute(ONE, [7]).fetchall())


def main():
    """Reads, writes in between, and reads again."""
    with psycopg.connect(CONNECTION, autocommit=True) as db, psycopg.connect(CONNECTION) as other:
        reads(db)
        db.execute("UPDATE cached_product SET price = price + 1 WHERE id = 7")
        reads(db)
        pipeline(db)
        db.execute("SET TimeZone = 'Asia/Tokyo'")
        print(db.execute(f"SELECT added::text FROM cached_product WHERE id = 7 {HINT}").fetchall())
        db.execute("RESET TimeZone")
        print(db.execute(f"SELECT added::text FROM cached_product WHERE id = 7 {HINT}").fetchall())
        # Nobody sees what is not committed, and everybody what is.
        other.execute("UPDATE cached_product SET name = 'renamed' WHERE id = 8")
        print(db.execute(ONE, [8]).fetchall(), other.execute(ONE, [8]).fetchall())
        other.commit()
        print(db.execute(ONE, [8]).fetchall())
        with other.cursor().copy("COPY cached_product (id, name, price, added, labels) FROM STDIN") as copy:
            copy.write_row((1000, "copied", 3, "2026-01-01", []))
        other.commit()
        print(db.execute(SUM, [2000]).fetchone())
        other.execute("DELETE FROM cached_product WHERE id = 1000")
        other.execute("UPDATE cached_product SET price = price - 1, name = 'product ' || id WHERE id IN (7, 8)")
        other.execute("UPDATE cached_product SET price = id * 1.25 WHERE id IN (7, 8)")
        other.commit()
        print(db.execute(SUM, [2000]).fetchone())
        try:
            db.execute(f"SELECT 1 / (id - id) FROM cached_product WHERE id = 1 {HINT}")
        except psycopg.Error as error:
            print(error.sqlstate)
        reads(db)


if __name__ == "__main__":
    main()
