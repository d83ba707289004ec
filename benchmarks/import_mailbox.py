"""Importing a large mailbox: seconds, and whether memory stays flat.

    python benchmarks/import_mailbox.py [--megabytes 500 2000]

Makes an mbox of each size in a temporary folder: mails to a writer and the answers, in words of
examples/mailbox.mbox; every twentieth mail has an attachment of 2 MB, one of them of 68 MB. Printed for each
size: messages, texts kept, seconds, and the largest resident memory of `personakit data import`.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from email.utils import formatdate
from pathlib import Path

MAILBOX = Path(__file__).parents[1] / "examples" / "mailbox.mbox"
ADDRESSES = "lena.weiss@garden.example", "kai@berg.example"
ATTACHMENT = (
    '--x\nContent-Type: image/jpeg; name="a.jpg"\nContent-Disposition: attachment; filename="a.jpg"\n'
    "Content-Transfer-Encoding: base64\n\n"
)
#: A line of base64, and how many of them are about a megabyte.
LINE, LINES = "QUJD" * 19 + "\n", 13_600


def write_mailbox(path: Path, megabytes: int) -> int:
    """Write an mbox of about `megabytes`; return the number of messages."""
    words = [word for word in MAILBOX.read_text("utf-8").split() if word.isalpha()]
    generator, count = random.Random(0), 0
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < megabytes << 20:
            sender, to = ADDRESSES[count % 2], ADDRESSES[1 - count % 2]
            attached = count % 20 == 1
            answers = f"In-Reply-To: <{count - 1}@berg.example>\n" if count % 2 else ""
            kind = 'multipart/mixed; boundary="x"' if attached else "text/plain"
            file.write(
                f"From {sender} Fri Jul 14 02:40:00 2017\nFrom: {sender}\nTo: {to}\n"
                f"Date: {formatdate(1.5e9 + 3600 * count)}\nSubject: {generator.choice(words)}\n"
                f"Message-ID: <{count}@berg.example>\n{answers}Content-Type: {kind}\n\n"
            )
            text = " ".join(generator.choices(words, k=generator.randint(20, 120)))
            file.write(f"--x\nContent-Type: text/plain\n\n{text}\n{ATTACHMENT}" if attached else f"{text}\n")
            if attached:
                for _ in range(LINES * (68 if count == 41 else 2)):
                    file.write(LINE)
                file.write("--x--\n")
            file.write("\n")
            count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, nargs="+", default=[500, 2000])
    options = parser.parse_args()
    for megabytes in options.megabytes:
        with tempfile.TemporaryDirectory() as folder:
            mailbox, output = Path(folder) / "sent.mbox", Path(folder) / "kai"
            count = write_mailbox(mailbox, megabytes)
            paths = [str(mailbox), str(output)]
            command = [sys.executable, "-m", "personakit", "data", "import", *paths, "--me", "kai"]
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            if status:
                sys.exit(1)
            with (output / "profile.jsonl").open(encoding="utf-8") as file:
                kept = sum(1 for _ in file)
            print(
                f"{mailbox.stat().st_size / 1e6:.0f} MB, {count:,} messages, {kept:,} texts kept: "
                f"{seconds:.0f} s, {usage.ru_maxrss / 1024:.0f} MB of memory",
                flush=True,
            )


if __name__ == "__main__":
    main()
