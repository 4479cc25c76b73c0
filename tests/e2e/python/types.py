"""Writes and reads values of Python's own types; what comes back must be equal to what was sent."""

import datetime
import decimal
import sys

import pymysql

host, port, user, password, database = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]
connection = pymysql.connect(host=host, port=port, user=user, password=password, database=database, charset="utf8mb4")
sent = (
    1,
    -(2**63),
    2**64 - 1,
    -0.5,
    decimal.Decimal("-99999999999999999999.0000000001"),
    datetime.date(2024, 2, 29),
    datetime.datetime(9999, 12, 31, 23, 59, 59, 999999),
    datetime.timedelta(hours=-838, minutes=-59, seconds=-59),
    "gr\u00fc\u00dfe \u65e5\u672c \U0001f980 ' \" \\ \0 \n %",
    bytes(range(256)) * 200,
    None,
    "",
)
with connection.cursor() as cursor:
    cursor.execute(
        "CREATE TABLE p (a INT, b BIGINT, c BIGINT UNSIGNED, d DOUBLE, e DECIMAL(40,10), f DATE, g DATETIME(6), h TIME,"
        " i VARCHAR(100) CHARACTER SET utf8mb4, j LONGBLOB, k INT, l TEXT)"
    )
    cursor.execute("INSERT INTO p VALUES (" + ", ".join(["%s"] * len(sent)) + ")", sent)
    connection.commit()
    cursor.execute("SELECT * FROM p")
    got = cursor.fetchall()
assert got == (sent,), (got, sent)
print(len(got[0]), "columns equal")
