"""What every client checks: statements, and the values they must bring back."""

import datetime
import decimal
import sys
import uuid

HOST, PORT, PASSWORD, ENCRYPTION, CERTIFICATE = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]

GROUP = "SELECT sequence_number FROM sys.availability_groups WHERE name = "

TYPES = """SELECT CAST(1 AS bit) AS [bit], CAST(255 AS tinyint) AS [tinyint], CAST(-32768 AS smallint) AS [smallint],
CAST(-2147483648 AS int) AS [int], CAST(-9223372036854775808 AS bigint) AS [bigint], CAST(-0.5 AS float) AS [float],
CAST(9999999999999999999999999 AS numeric(25, 0)) AS lsn, CAST(-123.45 AS decimal(9, 2)) AS [decimal],
CAST(N'ab' AS nchar(4)) AS [nchar], CAST(N'naïve ✓' AS nvarchar(20)) AS [nvarchar],
CAST(N'naïve ✓' AS nvarchar(max)) AS nvarcharmax, CAST(N'naïve €' AS varchar(20)) AS [varchar],
CAST(N'naïve €' AS varchar(max)) AS varcharmax, CAST(0x00FF AS varbinary(4)) AS [varbinary],
CAST(0x010203 AS varbinary(max)) AS varbinarymax,
CAST('6F9619FF-8B86-D011-B42D-00C04FC964FF' AS uniqueidentifier) AS guid,
CAST('2026-01-02T03:04:05.670' AS datetime) AS [datetime],
CAST('2026-01-02T03:04:05.670' AS datetime2(7)) AS [datetime2], CAST(N'yes' AS sql_variant) AS [variant],
CAST(NULL AS nvarchar(10)) AS nothing"""

MOMENT = datetime.datetime(2026, 1, 2, 3, 4, 5, 670000)

VALUES = [
    True, 255, -32768, -2147483648, -9223372036854775808, -0.5,
    decimal.Decimal("9999999999999999999999999"), decimal.Decimal("-123.45"),
    "ab  ", "naïve ✓", "naïve ✓", "naïve €", "naïve €", b"\x00\xff", b"\x01\x02\x03",
    uuid.UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff"), MOMENT, MOMENT, "yes", None,
]

NAMES = [
    "bit", "tinyint", "smallint", "int", "bigint", "float", "lsn", "decimal", "nchar", "nvarchar", "nvarcharmax",
    "varchar", "varcharmax", "varbinary", "varbinarymax", "guid", "datetime", "datetime2", "variant", "nothing",
]


def same(what, got, wanted):
    """Ends the script when a check fails, and says which."""
    if got != wanted:
        sys.exit(f"{what}: got {got!r}, wanted {wanted!r}")
    print("ok", what, flush=True)


def compare_types(row, names, **otherwise):
    """Compares the row of TYPES; `otherwise` has the values that a client shows in its own way."""
    same("names", list(names), NAMES)
    for name, got, wanted in zip(NAMES, row, VALUES):
        same(f"type {name}", got, otherwise.get(name, wanted))


def failing(what, action, *fragments):
    """An action must fail, and its error must say these things."""
    try:
        action()
    except Exception as error:
        text = f"{error!r} {error}"
        missing = [fragment for fragment in fragments if fragment not in text]
        same(what, (missing, text if missing else ""), ([], ""))
        return
    sys.exit(f"{what}: no error")
