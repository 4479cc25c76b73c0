"""PREPARE and EXECUTE as statements, with user variables for parameters."""

import sys

import pymysql

host, port, user, password = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
connection = pymysql.connect(host=host, port=port, user=user, password=password)
sums = 0
with connection.cursor() as cursor:
    cursor.execute("PREPARE s FROM 'SELECT ? + ?, @other'")
    for number in range(50):
        cursor.execute("SET @a = %s, @b = 2, @other = %s", (number, "o" * number))
        cursor.execute("SELECT 1")
        cursor.execute("EXECUTE s USING @a, @b")
        assert cursor.fetchall() == ((number + 2, "o" * number),), number
        sums += 1
    cursor.execute("DEALLOCATE PREPARE s")
    try:
        cursor.execute("EXECUTE s USING @a, @b")
        raise AssertionError("a statement outlived its DEALLOCATE")
    except pymysql.err.MySQLError as error:
        assert error.args[0] == 1243, error
print(sums, "sums")
