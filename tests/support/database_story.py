"""An ordinary program with a lease: psycopg and SQLAlchemy as their manuals say. Prints what came of each step.

Run by a Python that has them and nothing of ours.
"""

import json
import os

import psycopg
import sqlalchemy

URL = os.environ["DATABASE_URL"]
COUNT = "SELECT count(*) FROM sales.orders"
WHO = "SELECT user_name FROM valetkey.valetkey_caller()"


def by_psycopg(address: str) -> dict[str, object]:
    with psycopg.connect(address, connect_timeout=10) as db:
        found = {"count": db.execute(COUNT).fetchone()[0], "who": db.execute(WHO).fetchone()[0]}
        db.rollback()
        for name, statement in {
            "write": "DELETE FROM sales.orders",
            "switched": "SET default_transaction_read_only = off",
            "write_again": "DELETE FROM sales.orders",
            "other": "SELECT * FROM hr.salaries",
        }.items():
            try:
                db.execute(statement)
                db.commit()
                found[name] = "done"
            except psycopg.Error as error:
                db.rollback()
                found[name] = error.sqlstate
        return found


def by_sqlalchemy() -> dict[str, object]:
    engine = sqlalchemy.create_engine(
        URL.replace("postgresql://", "postgresql+psycopg://"), pool_size=5, pool_pre_ping=True
    )
    held = [engine.connect() for _ in range(5)]
    counts = [one.execute(sqlalchemy.text(COUNT)).scalar() for one in held]
    for one in held:
        one.close()
    tables = sqlalchemy.inspect(engine).get_table_names("sales")
    with engine.connect() as db:
        orders = sqlalchemy.Table("orders", sqlalchemy.MetaData(), schema="sales", autoload_with=db)
        owners = sorted(db.execute(sqlalchemy.select(orders.c.owner).distinct()).scalars())
        try:
            db.execute(orders.delete())
            wrote = "done"
        except sqlalchemy.exc.DBAPIError as error:
            wrote = error.orig.sqlstate
    engine.dispose()
    return {"counts": counts, "tables": sorted(tables), "owners": owners, "write": wrote}


def tried(step: object) -> object:
    try:
        return step()
    except (psycopg.OperationalError, sqlalchemy.exc.OperationalError) as error:
        return {"refused": type(error).__name__}


print(
    json.dumps(
        {
            "psycopg": tried(lambda: by_psycopg(URL)),
            "service": tried(lambda: by_psycopg("service=valetkey")),
            "sqlalchemy": tried(by_sqlalchemy),
        }
    )
)
