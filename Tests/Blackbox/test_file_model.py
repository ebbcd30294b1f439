"""Files of a bank of chance against what the bank knows: whatever overlaps, in whatever order it comes, with and
without ids, with corrections and corrections of these, each transaction is there once and as it was told last. Older
files come again among the newer ones, and change nothing."""

import collections
import random

import pytest

from test_files import HEADER, link, refresh, settled, transactions


class Book:
    """One account at the bank. Its FITIDs are those of the other account too."""

    def __init__(self, chance, number):
        self.chance, self.number = chance, number
        self.entries, self.told, self.corrected, self.first = [], set(), {}, {}

    def add(self, day, amount, name, fitid, corrects="", action=""):
        self.entries.append((len(self.entries), day, amount, name, fitid, corrects, action))

    def spend(self, last):
        for _ in range(self.chance.randrange(3, 9)):
            fitid = self.chance.choice([f"F{len(self.entries)}", ""])
            day = self.chance.randrange(max(1, last - 4), last + 1)
            self.add(day, -100 * self.chance.randrange(1, 4), self.chance.choice("AB"), fitid)

    def correct(self, last):
        """What was told before, a correction too, is replaced or taken back by a new entry. That names the one before
        it or the first of all."""
        known = [entry for entry in self.entries
                 if entry[0] in self.told and entry[0] not in self.corrected and entry[4] and entry[6] != "DELETE"]
        if known:
            former = self.chance.choice(known)
            number = len(self.entries)
            self.corrected[former[0]] = number
            self.first[number] = first = self.first.get(former[0], former[4])
            action = self.chance.choice(["REPLACE", "REPLACE", "DELETE"])
            self.add(last, -777 - number, "C", f"F{number}", self.chance.choice([first, former[4]]), action)

    def statement(self, first, last):
        """Tells the entries of some days, in an order of chance."""
        inside = [entry for entry in self.entries if first <= entry[1] <= last]
        self.told |= {entry[0] for entry in inside}
        inside.sort(key=lambda entry: entry[1], reverse=self.chance.random() < 0.5)
        if self.chance.random() < 0.3:
            self.chance.shuffle(inside)
        lines = [
            f"<STMTTRN><TRNTYPE>POS<DTPOSTED>202401{day:02}<TRNAMT>{amount / 100:.2f}<FITID>{fitid}"
            + (f"<CORRECTFITID>{corrects}<CORRECTACTION>{action}" if corrects else "") + f"<NAME>{name}</STMTTRN>\n"
            for _, day, amount, name, fitid, corrects, action in inside
        ]
        return (
            f"<STMTTRNRS><STMTRS><CURDEF>USD<BANKACCTFROM><BANKID>1<ACCTID>{self.number}<ACCTTYPE>CHECKING"
            f"</BANKACCTFROM><BANKTRANLIST><DTSTART>202401{first:02}<DTEND>202401{last:02}\n{''.join(lines)}"
            "</BANKTRANLIST></STMTRS></STMTTRNRS>\n"
        )

    @property
    def standing(self):
        """How often each amount and name counts, of what was told."""
        return collections.Counter(
            (amount, name) for number, _, amount, name, _, _, action in self.entries
            if number in self.told and action != "DELETE" and self.corrected.get(number) not in self.told
        )


@pytest.mark.parametrize("seed", range(12))
def test_overlapping_files_bring_each_transaction_once(raw, server, seed):
    chance = random.Random(seed)
    customer = raw.customer()["id"]
    books = [Book(chance, f"{chance.randrange(10**5)}{digits}") for digits in ("1111", "2222")]
    last, linked, given = 5, {}, []

    def give(contents):
        accounts = link(raw, server, contents.encode(), customer)
        if not linked:
            for account in accounts:
                refresh(raw, account["id"], "transactions")
        linked.update({account["last4"]: account["id"] for account in accounts})
        for book in books:
            account = linked[book.number[-4:]]
            settled(raw, account, "transaction_refresh")
            found = collections.Counter(
                (one["amount"], one["description"])
                for one in transactions(raw, account) if one["status"] == "posted"
            )
            assert found == book.standing, f"seed {seed}, after {len(given)} files, {contents}"

    for turn in range(5):
        first = max(1, last - chance.randrange(0, 8))
        for book in books:
            book.spend(last)
            if turn and chance.random() < 0.8:
                book.correct(last)
        statements = "".join(book.statement(first, last) for book in books)
        given.append(f"{HEADER}<OFX><BANKMSGSRSV1>{statements}</BANKMSGSRSV1></OFX>\n")
        give(given[-1])
        if chance.random() < 0.5:
            give(chance.choice(given))
        last += chance.randrange(2, 7)
