"""FreeTDS."""

import time

import pymssql
from common import ENCRYPTION, GROUP, HOST, PASSWORD, PORT, TYPES, compare_types, failing, same


def connect(password=PASSWORD, timeout=0, autocommit=True):
    return pymssql.connect(
        server=HOST, port=str(PORT), user="sa", password=password, database="master", encryption=ENCRYPTION,
        login_timeout=10, timeout=timeout, autocommit=autocommit,
    )


def one(connection, sql, *parameters):
    cursor = connection.cursor()
    cursor.execute(sql, *parameters)
    return cursor.fetchone()


db = connect()
same("version", one(db, "SELECT @@VERSION")[0][:20], "Microsoft SQL Server")
same("parameterised query without rows", one(db, GROUP + "%s", ("no such group",)), None)

cursor = db.cursor()
cursor.execute(TYPES)
compare_types(cursor.fetchone(), [column[0] for column in cursor.description], variant=b"yes")
same("end of rows", cursor.fetchone(), None)

cursor = db.cursor()
cursor.execute("SELECT 1; SELECT N'zwei'")
same("first result set", cursor.fetchall(), [(1,)])
same("there is a second", cursor.nextset(), True)
same("second result set", cursor.fetchall(), [("zwei",)])

cursor = db.cursor()
cursor.execute("PRINT N'hello'")
same("print", cursor.description, None)

failing("error", lambda: one(db, "ALTER AVAILABILITY GROUP [nope] FAILOVER"), "vailability")
same("use after an error", one(db, "SELECT 7"), (7,))

transacted = connect(autocommit=False)
same("transaction", one(transacted, "SELECT @@TRANCOUNT")[0], 1)
transacted.commit()
transacted.rollback()
transacted.close()

slow = connect(timeout=1)
begun = time.monotonic()
failing("timeout", lambda: one(slow, "WAITFOR DELAY '00:00:05'"), "timed out")
same("timeout in time", time.monotonic() - begun < 3, True)
# This client closes the connection at a timeout; the others are not touched.
same("other connections after a timeout", one(db, "SELECT 7"), (7,))
db.close()

failing("wrong password", lambda: connect("wrong"), "18456", "Login failed for user 'sa'")
