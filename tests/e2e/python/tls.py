import hashlib
import sys

import pymysql

host, port, user, password, ca = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]
connection = pymysql.connect(
    host=host,
    port=port,
    user=user,
    password=password,
    ssl={"ca": ca},
    read_timeout=60,
    max_allowed_packet=1 << 28,
    charset="latin1",
)
with connection.cursor() as cursor:
    # Larger than every buffer on the way, in both directions.
    text = "".join(chr(65 + at % 26) for at in range(1 << 16)) * 200
    cursor.execute("SELECT SHA2(%s, 256)", (text,))
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert cursor.fetchone()[0] == digest, "a long command"
    cursor.execute("SELECT REPEAT(%s, 200)", (text[: 1 << 16],))
    assert cursor.fetchone()[0] == text, "a long answer"
    for length in (0, 1, 16383, 16384, 16385, 65536, 70000):
        cursor.execute("SELECT REPEAT('x', %s)", (length,))
        assert cursor.fetchone()[0] == "x" * length, length
    cursor.execute("SHOW PROXYSESSION ATTRIBUTE LIKE 'relay_reason'")
    print(cursor.fetchone()[1])
connection.close()
