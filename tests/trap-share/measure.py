"""Counts what the programs of this folder have trapped in steady state.

    measure.py SLUICE_PORT SERVER_PORT [PROGRAM …]

Sluice and the server, which must log to tables (`--log-output=TABLE`), listen on 127.0.0.1; `app` has the password `secret` and all rights, `root` none and
all rights. The programs run with this Python, which needs Django, SQLAlchemy, peewee, pony and PyMySQL, and with Node.js, whose NODE_PATH leads to
sequelize, typeorm, reflect-metadata, knex and mysql2. What a program has said is written to logs/PROGRAM.log: of statements that differ in numbers and strings alone
the first, and how many there were. `proxy-ebpf/tests/share` looks what the classifier makes of these.
"""
import collections
import pathlib
import re
import subprocess
import sys

import pymysql

FOLDER = pathlib.Path(__file__).parent
SLUICE, SERVER = int(sys.argv[1]), int(sys.argv[2])
PROGRAMS = sys.argv[3:] or sorted(path.name for path in FOLDER.glob("*_shop.*"))


def connect(port):
    return pymysql.connect(host="127.0.0.1", port=port, user="root", password="", autocommit=True).cursor()


def ask(cursor, text):
    cursor.execute(text)
    return cursor.fetchall()


def condensed(log):
    """A line a kind of statement: the number, the command, and the text with its backslashes, tabs and line ends escaped."""
    kinds = {}
    for command, text in log:
        shape = re.sub(r"'(?:[^'\\]|\\.|'')*'|\d+", "?", text), "\\'" in text
        first, count = kinds.get((command, shape), (text, 0))
        kinds[command, shape] = first, count + 1
    for (command, _), (text, count) in kinds.items():
        for plain, escaped in ("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"):
            text = text.replace(plain, escaped)
        yield f"{count}\t{command}\t{text}\n"


def counters(cursor):
    """Of all sessions of the program: commands, traps by reason, and what ties them."""
    found, ties = collections.Counter(), []
    ask(cursor, "SHOW PROXYSESSION")
    names = [column[0].lower() for column in cursor.description]
    for row in ask(cursor, "SHOW PROXYSESSION"):
        if "root" in map(str, row):
            continue
        try:
            rows = ask(cursor, f"SHOW PROXYSESSION ATTRIBUTE {row[names.index('id')]}")
        except pymysql.err.OperationalError:
            continue  # It has just ended.
        values = {name: value for name, value, *_ in rows}
        for name, value in values.items():
            if name in ("spliced_commands", "relayed_commands") or name.startswith("trap: "):
                found[name] += int(value)
        ties.append((values["path"], values["mode"], values["sticky_reason"]))
    return found, ties


def measure(program):
    server, sluice = connect(SERVER), connect(SLUICE)
    database = program.split(".")[0]
    ask(server, f"DROP DATABASE IF EXISTS {database}")
    ask(server, f"CREATE DATABASE {database} CHARACTER SET utf8mb4")
    ask(server, "SET GLOBAL general_log = 0")
    ask(server, "TRUNCATE mysql.general_log")
    runner = sys.executable if program.endswith(".py") else "node"
    command = [runner, FOLDER / program, "127.0.0.1", str(SLUICE), database]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait_for(word):
        line = child.stdout.readline().strip()
        if line != word:
            sys.exit(f"{program}: {line!r} where {word!r} was expected")

    wait_for("steady")
    before, ties = counters(sluice)
    ask(server, "SET GLOBAL general_log = 1")
    child.stdin.write("\n")
    child.stdin.flush()
    wait_for("done")
    after, _ = counters(sluice)
    ask(server, "SET GLOBAL general_log = 0")
    log = ask(server, "SELECT command_type, CONVERT(argument USING utf8mb4) FROM mysql.general_log WHERE user_host LIKE 'app%'")
    (FOLDER / "logs" / f"{database}.log").write_text("".join(condensed(log)))
    child.communicate("\n")
    difference = after - before
    commands = difference["spliced_commands"] + difference["relayed_commands"]
    traps = {name[6:]: count for name, count in difference.items() if name.startswith("trap: ")}
    relayed = difference["relayed_commands"]
    print(f"{program}: {commands} commands, {relayed} relayed ({100 * relayed / max(commands, 1):.1f} %); traps {traps}; sessions {ties}")


for program in PROGRAMS:
    measure(program)
