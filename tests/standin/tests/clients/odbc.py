"""Microsoft's ODBC Driver 18."""

import time

import mssql_python
from common import CERTIFICATE, ENCRYPTION, GROUP, HOST, PASSWORD, PORT, TYPES, compare_types, failing, same


def connect(password=PASSWORD, autocommit=True):
    trust = f"ServerCertificate={CERTIFICATE};" if ENCRYPTION == "strict" else "TrustServerCertificate=yes;"
    return mssql_python.connect(
        f"Server=tcp:{HOST},{PORT};UID=sa;PWD={{{password}}};Encrypt={ENCRYPTION};{trust}", autocommit=autocommit
    )


def one(connection, sql, *parameters):
    return tuple(connection.cursor().execute(sql, *parameters).fetchone())


db = connect()
same("version", one(db, "SELECT @@VERSION")[0][:20], "Microsoft SQL Server")
row = db.cursor().execute(GROUP + "?", ("no such group",)).fetchone()
same("parameterised query without rows", row, None)

cursor = db.cursor().execute(TYPES)
compare_types(tuple(cursor.fetchone()), [column[0] for column in cursor.description])
same("end of rows", cursor.fetchone(), None)

given = (2**40, "naïve ✓", None, b"\x00\xff", True, -0.5)
same("parameters", one(db, "SELECT ? AS a, ? AS b, ? AS c, ? AS d, ? AS e, ? AS f", given), given)
same("long parameter", len(one(db, "SELECT ? AS a", ("y" * 200000,))[0]), 200000)
for number in range(50):
    same(f"prepared {number}", one(db, "SELECT ? AS a", (number,)), (number,))

cursor = db.cursor().execute("SELECT 1; SELECT N'zwei'")
same("first result set", [tuple(row) for row in cursor.fetchall()], [(1,)])
same("there is a second", cursor.nextset(), True)
same("second result set", [tuple(row) for row in cursor.fetchall()], [("zwei",)])

cursor = db.cursor().execute("PRINT N'hello'")
same("print", any("hello" in text for _, text in cursor.messages), True)

failover = "ALTER AVAILABILITY GROUP [nope] FAILOVER"
failing("error", lambda: db.cursor().execute(failover), "vailability")
same("use after an error", one(db, "SELECT 7"), (7,))

with connect(autocommit=False) as transacted:
    same("transaction", one(transacted, "SELECT @@TRANCOUNT")[0], 1)
    transacted.commit()
    transacted.rollback()

db.timeout = 1
begun = time.monotonic()
failing("timeout", lambda: db.cursor().execute("WAITFOR DELAY '00:00:05'"), "imeout")
same("timeout in time", time.monotonic() - begun < 3, True)
same("use after a timeout", one(db, "SELECT 7"), (7,))
db.close()

failing("wrong password", lambda: connect("wrong"), "Login failed for user 'sa'")
