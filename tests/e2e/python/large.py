"""Large statements, relayed because of their length, from several clients in blocking mode at a time. Every answer must be right."""

import sys
import threading

import pymysql

host, port, user, password = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
LENGTH = 16_000_000
sql = "SELECT LENGTH('" + "x" * LENGTH + "')"
wrong = []


def client():
    connection = None
    for _ in range(10):
        if connection is None:
            connection = pymysql.connect(host=host, port=port, user=user, password=password)
        try:
            cursor = connection.cursor()
            cursor.execute(sql)
            if cursor.fetchone() != (LENGTH,):
                wrong.append("another length")
        except TypeError:
            # The kernel has ended a blocking read with EAGAIN (README, "Limits"), of which PyMySQL makes this.
            connection = None
        except pymysql.Error as error:
            wrong.append(str(error)[:200])
            connection = None


threads = [threading.Thread(target=client) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("; ".join(wrong) if wrong else "every answer was right")
