"""Replies as mail programs write them: the body, what its sender wrote, and words of what they answered.

Made up, after the forms that the programs named use. `quoted` is None where nothing is quoted.
"""

from __future__ import annotations

from typing import NamedTuple


class Reply(NamedTuple):
    style: str
    body: str
    own: str
    quoted: str | None


OWN = "Hi Lena,\n\nFriday works, I'll bring the keys.\n\nCheers,\nKai"
LONG = "It is a long story, and it is told in full in what comes below this line."
ASKED = "can you open the hall on Friday?"

REPLIES = (
    Reply("no quote", OWN, OWN, None),
    Reply(
        "Gmail, English",
        f"{OWN}\n\nOn Tue, Mar 5, 2024 at 9:14 AM Lena Weiss <lena@weiss.example> wrote:\n\n> Hi Kai,\n>\n> {ASKED}\n",
        OWN,
        ASKED,
    ),
    Reply(
        "Gmail, the line wrapped",
        f"{OWN}\n\nOn Tue, Mar 5, 2024 at 9:14 AM Lena Weiss of the allotment\n<lena@weiss.example> wrote:\n\n> {ASKED}\n",
        OWN,
        ASKED,
    ),
    Reply(
        "Apple Mail",
        f"{OWN}\n\n> On 5 Mar 2024, at 09:14, Lena Weiss <l@w.example> wrote:\n> \n> {ASKED}",
        OWN,
        ASKED,
    ),
    Reply(
        "Outlook, dashes",
        f"{OWN}\n\n-----Original Message-----\nFrom: Lena Weiss\nSent: Tuesday, March 5, 2024 9:14 AM\nTo: Kai\nSubject: Hall\n\n{ASKED}\n",
        OWN,
        ASKED,
    ),
    Reply(
        "Outlook, a rule",
        f"{OWN}\n\n________________________________\nFrom: Lena Weiss <l@w.example>\nSent: Tuesday, March 5, 2024 9:14 AM\nTo: Kai Berg <k@b.example>\nSubject: Hall\n\n{ASKED}",
        OWN,
        ASKED,
    ),
    Reply(
        "Outlook, headers alone",
        f"{OWN}\n\nFrom: Lena Weiss <l@w.example>\nDate: Tuesday, 5 March 2024 at 09:14\nTo: Kai Berg <k@b.example>\nSubject: Hall\n\n{ASKED}",
        OWN,
        ASKED,
    ),
    Reply(
        "Outlook, bold headers",
        f"{OWN}\n\n*From:* Lena Weiss <l@w.example>\n*Sent:* Tuesday, 5 March 2024 09:14\n*To:* Kai Berg <k@b.example>\n*Subject:* Hall\n\n{ASKED}",
        OWN,
        ASKED,
    ),
    Reply(
        "German Outlook",
        f"Hallo Lena,\n\npasst.\n\nGruß\nKai\n\nVon: Lena Weiss <l@w.example>\nGesendet: Dienstag, 5. März 2024 09:14\nAn: Kai Berg\nBetreff: Saal\n\n{ASKED}",
        "Hallo Lena,\n\npasst.\n\nGruß\nKai",
        ASKED,
    ),
    Reply(
        "German Thunderbird",
        f"Passt, bis Freitag.\n\nAm 05.03.24 um 09:14 schrieb Lena Weiss:\n> {ASKED}\n",
        "Passt, bis Freitag.",
        ASKED,
    ),
    Reply(
        "French Gmail",
        f"Oui, vendredi.\n\nLe mar. 5 mars 2024 à 09:14, Lena Weiss <l@w.example> a écrit :\n\n> {ASKED}\n",
        "Oui, vendredi.",
        ASKED,
    ),
    Reply(
        "Spanish Gmail, nothing marked",
        f"Sí, el viernes.\n\nEl mar, 5 mar 2024 a las 9:14, Lena Weiss (<l@w.example>) escribió:\n\n{ASKED}\n",
        "Sí, el viernes.",
        ASKED,
    ),
    Reply(
        "a language nobody listed",
        f"Igen, pénteken jó.\n\nLena Weiss <l@w.example> ezt írta (időpont: 2024. márc. 5., K, 9:14):\n\n> {ASKED}\n",
        "Igen, pénteken jó.",
        ASKED,
    ),
    Reply(
        "mutt, below the quote",
        f"On Tue, Mar 05, 2024 at 09:14:02AM +0100, Lena Weiss wrote:\n> {ASKED}\n\nYes, at nine.\n\nkai\n",
        "Yes, at nine.\n\nkai",
        ASKED,
    ),
    Reply(
        "between the quotes",
        f"Lena Weiss wrote:\n> {ASKED}\n\nYes.\n\n> And who brings the ladder?\n\nI do.\n",
        "Yes.\n\nI do.",
        ASKED,
    ),
    Reply("quote without a line before it", f"> {ASKED}\nYes, at nine.\n", "Yes, at nine.", ASKED),
    Reply("signature", f"{OWN}\n\n-- \nKai Berg\nSonnenweg 4, Tel. 0170 1234567\n", OWN, None),
    Reply("signature, its space lost", f"{OWN}\n\n--\nKai Berg\n+49 170 1234567\n", OWN, None),
    Reply(
        "signature and quote",
        f"{OWN}\n\n-- \nKai Berg\n\nOn Tue, Mar 5, 2024 at 9:14 AM Lena Weiss <l@w.example> wrote:\n> {ASKED}\n",
        OWN,
        ASKED,
    ),
    Reply("phone", "Yes, Friday.\n\nSent from my iPhone\n", "Yes, Friday.", None),
    Reply(
        "phone and quote",
        f"Yes, Friday.\n\nSent from my iPhone\n\n> On Mar 5, 2024, at 09:14, Lena <l@w.example> wrote:\n> \n> {ASKED}\n",
        "Yes, Friday.",
        ASKED,
    ),
    Reply("phone, in HTML", "Yes, Friday.\nSent from my iPhone", "Yes, Friday.", None),
    Reply(
        "Outlook's app",
        "Yes, Friday.\n\nGet Outlook for Android<https://aka.example/x>\n",
        "Yes, Friday.",
        None,
    ),
    Reply(
        "forward with a remark",
        f"Lena asks, see below. Can you?\n\n---------- Forwarded message ---------\nFrom: Lena Weiss <l@w.example>\nDate: Tue, Mar 5, 2024 at 9:14 AM\nSubject: Hall\nTo: Kai\n\n{ASKED}\n",
        "Lena asks, see below. Can you?",
        None,
    ),
    Reply(
        "forward, Apple",
        f"FYI, for you.\n\nBegin forwarded message:\n\nFrom: Lena Weiss\nSubject: Hall\n\n{ASKED}\n",
        "FYI, for you.",
        None,
    ),
    Reply(
        "text that looks like a header",
        "Two things for the sheet:\n\nFrom: the depot\nand back on Sunday. On Monday I wrote: nothing.\n\nKai",
        "Two things for the sheet:\n\nFrom: the depot\nand back on Sunday. On Monday I wrote: nothing.\n\nKai",
        None,
    ),
    *(
        Reply(style, body, body, None)
        for style, body in (
            ("a dash between two parts", f"The first part ends here.\n\n—\n\n{LONG}\n\nKai"),
            (
                "a line that begins like a phone's",
                "Sent from the depot today: nothing.\n\nSo we wait.\n\nKai",
            ),
            ("a last line that begins like a phone's", "It was\nsent from the depot today, and not before."),
            ("a story with a quote", "In 2019 my teacher wrote:\n\nread more books.\n\nSo I did.\n\nKai"),
            (
                "a list of places",
                "The trip:\n\nFrom: the depot\nTo: the hall\nDate: Sunday\n\nBring boots.\n\nKai",
            ),
        )
    ),
    Reply("signature after a long dash", f"{OWN}\n\n—\nKai Berg\nSonnenweg 4\n", OWN, None),
    Reply(
        "a list of dashes",
        "Please bring:\n\n- gloves\n- a rake\n\n- kai",
        "Please bring:\n\n- gloves\n- a rake\n\n- kai",
        None,
    ),
    Reply(
        "two levels",
        f"Fine.\n\nOn 6 Mar 2024, Lena wrote:\n> {ASKED}\n>\n> On 5 Mar 2024, Kai wrote:\n>> Who has the keys?\n",
        "Fine.",
        ASKED,
    ),
)
