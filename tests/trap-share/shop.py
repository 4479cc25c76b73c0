"""What the Python programs of this folder have in common: what they write, and when they are counted.

A program is started with the host and port of a proxy, makes its tables, warms up, says `steady`, and waits for a line. Then it works, says
`done`, and waits for another line before it ends, so that its sessions can be looked at.
"""
import random
import sys

HOST, PORT = sys.argv[1], int(sys.argv[2])
USER, PASSWORD, DATABASE = "app", "secret", sys.argv[3]
ROUNDS = 200

PROSE = [
    "It's a fine day, isn't it? I'd say so.",
    "Plain text without anything special in it, as most of it is.",
    'She said "come back", and they did.',
    "Price: 10 € — e-mail me@example.org; ask for C:\\temp\\x",
    "Line one\nline two\n\nline four",
    '{"theme": "dark", "tags": ["a", "b"], "n": 1}',
    "Ünïcödé, 名前, emoji 🚀",
    "Short.",
    "100% sure; nothing -- to # see /* here */",
    "The owner's note: don't panic.",
]
dice = random.Random(7)


def prose():
    """One in five has an apostrophe, as in English letters and comments."""
    return dice.choice(PROSE)


def word():
    return dice.choice(["alpha", "beta", "gamma", "delta", "o'hara", "epsilon", "zeta"])


def steady(work):
    """Warm-up, then what is counted."""
    for number in range(10):
        work(number)
    print("steady", flush=True)
    sys.stdin.readline()
    for number in range(10, 10 + ROUNDS):
        work(number)
    print("done", flush=True)
    sys.stdin.readline()
