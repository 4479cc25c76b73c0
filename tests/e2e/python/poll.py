"""A client that asks poll and FIONREAD before it reads, as event loops and drivers do."""

import array
import fcntl
import select
import sys
import termios

import pymysql
from pymysql.constants import COMMAND

host, port, user, password = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
may_miss = sys.argv[5] == "spliced"
connection = pymysql.connect(host=host, port=port, user=user, password=password)
socket = connection._sock
poll = select.poll()
poll.register(socket, select.POLLIN)


def pending():
    count = array.array("i", [0])
    fcntl.ioctl(socket, termios.FIONREAD, count)
    return count[0]


answers = 0
for number in range(20):
    # Behind a SET one command is relayed: the server is asked for the variable right before it.
    connection.query("SELECT 'plain'")
    for sql, wanted in ((f"SELECT {number}", number), (f"SET @v = {number}", None)):
        assert poll.poll(0) == [], "readable before a command"
        assert pending() == 0
        connection._execute_command(COMMAND.COM_QUERY, sql)
        events = poll.poll(10_000)
        assert events and events[0][1] & select.POLLIN, (sql, events)
        # Bytes that are relayed to a socket of a sock map are not counted by every kernel; `poll` sees them.
        assert pending() > 0 or (wanted is None and may_miss), sql
        connection._read_query_result()
        if wanted is not None:
            assert connection._result.rows == ((wanted,),), connection._result.rows
        answers += 1
print(answers, "answers polled")
