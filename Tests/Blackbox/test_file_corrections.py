"""What later files say of what earlier ones told, and what one file says twice: corrections of corrections, older files
after newer ones, pending ones and their postings, and transactions that are nearly alike."""

import collections

import pytest

from test_files import HEADER, entry, link, refresh, settled, transactions


def correction(day, amount, fitid, former, name="Corrected", action="REPLACE"):
    return entry(day, amount, f"{fitid}<CORRECTFITID>{former}<CORRECTACTION>{action}", name)


def deletion(day, fitid, former):
    return correction(day, "0", fitid, former, "", "DELETE")


def pending(day, amount, name, reference=""):
    reference = f"<REFNUM>{reference}" if reference else ""
    return f"<STMTTRNP><TRNTYPE>POS<DTTRAN>{day}<TRNAMT>{amount}{reference}<NAME>{name}</STMTTRNP>\n"


def statement(*entries, holds=None, moment="20240301", currency="USD", account="98765432", branch=""):
    """One statement; with a list of what is pending where there is one, complete at a moment."""
    branch = f"<BRANCHID>{branch}" if branch else ""
    listed = "" if holds is None else f"<BANKTRANLISTP><DTASOF>{moment}\n{''.join(holds)}</BANKTRANLISTP>"
    return (
        f"<STMTTRNRS><STMTRS><CURDEF>{currency}\n<BANKACCTFROM><BANKID>1{branch}<ACCTID>{account}<ACCTTYPE>CHECKING"
        f"</BANKACCTFROM><BANKTRANLIST>\n{''.join(entries)}</BANKTRANLIST>{listed}"
        f"<LEDGERBAL><BALAMT>1.00<DTASOF>{moment}</LEDGERBAL></STMTRS></STMTTRNRS>\n"
    )


def file(*statements):
    return f"{HEADER}<OFX><BANKMSGSRSV1>{''.join(statements)}</BANKMSGSRSV1></OFX>\n".encode()


class Ledger:
    """One account that is linked by files, each given in turn."""

    def __init__(self, raw, server):
        self.raw, self.server, self.customer, self.account = raw, server, raw.customer()["id"], None

    def give(self, *statements, confirm=False):
        (linked,) = link(self.raw, self.server, file(*statements), self.customer, confirm=confirm)
        if self.account is None:
            self.account = linked["id"]
            refresh(self.raw, self.account, "transactions")
        assert linked["id"] == self.account
        assert settled(self.raw, self.account, "transaction_refresh")["transaction_refresh"]["status"] == "succeeded"
        return self

    @property
    def all(self):
        return transactions(self.raw, self.account)

    def standing(self):
        """What is not void: amounts in minor units with the currency, the words and the status."""
        return sorted(
            (one["amount"], one["currency"], one["description"], one["status"])
            for one in self.all if one["status"] != "void"
        )

    def id(self, amount):
        (found,) = [one["id"] for one in self.all if one["amount"] == amount]
        return found


@pytest.fixture
def ledger(raw, server):
    return Ledger(raw, server)


COFFEE = entry("20240102", "-10.00", "1", "Coffee")
TEA = entry("20240105", "-7.00", "2", "Tea")


def test_an_older_file_brings_nothing_back_that_was_corrected(ledger):
    ledger.give(statement(COFFEE, TEA))
    coffee = ledger.id(-1000)
    ledger.give(statement(correction("20240110", "-11.00", "8", "1"), deletion("20240110", "9", "2")))
    expected = [(-1100, "usd", "Corrected", "posted")]
    assert ledger.standing() == expected
    for older in (statement(COFFEE, TEA), statement(COFFEE), statement(TEA)):
        assert ledger.give(older).standing() == expected
    assert ledger.id(-1100) == coffee and len(ledger.all) == 2


def test_what_was_corrected_in_one_file_does_not_come_back_with_an_older_one(ledger):
    ledger.give(statement(COFFEE, TEA, correction("20240110", "-11.00", "8", "1"), deletion("20240110", "9", "2")))
    expected = [(-1100, "usd", "Corrected", "posted")]
    assert ledger.standing() == expected
    assert ledger.give(statement(COFFEE, TEA)).standing() == expected


@pytest.mark.parametrize("files", [1, 2, 3])
def test_the_last_of_two_corrections_of_one_transaction_counts(ledger, files):
    rows = [
        COFFEE, correction("20240110", "-11.00", "8", "1", "Once"), correction("20240111", "-12.00", "9", "1", "Twice"),
    ]
    cuts = {1: [rows], 2: [rows[:2], rows[2:]], 3: [[row] for row in rows]}[files]
    for cut in cuts:
        ledger.give(statement(*cut))
    assert ledger.standing() == [(-1200, "usd", "Twice", "posted")]
    # The same again, as a whole and in part.
    for again in (rows, rows[:2], rows[2:], rows[:1], rows[1:]):
        assert ledger.give(statement(*again)).standing() == [(-1200, "usd", "Twice", "posted")]


def test_a_chain_of_corrections_keeps_the_transaction(ledger):
    ledger.give(statement(COFFEE))
    coffee = ledger.id(-1000)
    ledger.give(statement(
        COFFEE, correction("20240110", "-11.00", "2", "1"), correction("20240111", "-12.00", "3", "2", "Last"),
    ))
    assert ledger.standing() == [(-1200, "usd", "Last", "posted")]
    assert [one["id"] for one in ledger.all] == [coffee]
    ledger.give(statement(deletion("20240112", "4", "3")))
    assert ledger.standing() == []
    assert ledger.give(statement(COFFEE, correction("20240110", "-11.00", "2", "1"))).standing() == []


def test_a_chain_is_followed_from_its_first_name(ledger):
    ledger.give(statement(COFFEE)).give(statement(correction("20240110", "-11.00", "2", "1")))
    coffee = ledger.id(-1100)
    # The bank names what it first called the transaction, and not its correction.
    ledger.give(statement(correction("20240112", "-12.00", "3", "1", "Last")))
    assert ledger.standing() == [(-1200, "usd", "Last", "posted")]
    assert ledger.id(-1200) == coffee
    assert ledger.give(statement(deletion("20240113", "4", "1"))).standing() == []


def test_a_deletion_is_carried_out_once(ledger):
    ledger.give(statement(COFFEE)).give(statement(deletion("20240103", "9", "1")))
    assert ledger.standing() == []
    # The bank counts anew: this is another transaction with the FITID of the one that is gone.
    expected = [(-500, "usd", "Juice", "posted")]
    assert ledger.give(statement(entry("20240301", "-5.00", "1", "Juice"))).standing() == expected
    assert ledger.give(statement(deletion("20240103", "9", "1"))).standing() == expected


def test_a_correction_that_cannot_be_read_corrects_nothing(ledger):
    ledger.give(statement(COFFEE, correction("20240110", "abc", "8", "1")), confirm=True)
    assert ledger.standing() == [(-1000, "usd", "Coffee", "posted")]


def test_transactions_without_a_name_of_the_bank_may_have_long_words(ledger):
    long, chinese = "Lunch at " + "x" * 600, "午" * 200
    rows = [entry("20240102", "-1.00", "", words) for words in (long, long, chinese, "Short")]
    for _ in range(2):
        ledger.give(statement(*rows))
        found = collections.Counter((amount, words[:100]) for amount, _, words, _ in ledger.standing())
        assert found == {(-100, long[:100]): 2, (-100, chinese[:100]): 1, (-100, "Short"): 1}


def test_the_same_name_amount_and_day_in_two_currencies_are_two(ledger):
    both = (statement(COFFEE), statement(COFFEE, currency="EUR"))
    expected = [(-1000, "eur", "Coffee", "posted"), (-1000, "usd", "Coffee", "posted")]
    assert ledger.give(*both).standing() == expected
    assert ledger.give(*both).standing() == expected


@pytest.mark.parametrize("fitid", ["0", "000", "77"])
def test_a_name_that_the_bank_gives_to_all_is_none(ledger, fitid):
    rows = [entry("20240102", "-3.00", fitid, words) for words in ("Coffee", "Tea", "Juice")]
    expected = [(-300, "usd", words, "posted") for words in ("Coffee", "Juice", "Tea")]
    assert ledger.give(statement(*rows)).standing() == expected
    assert ledger.give(statement(*rows)).standing() == expected


def test_what_has_the_name_zero_may_be_alike(ledger):
    rows = [entry("20240102", "-3.00", "0", "Coffee")] * 2
    assert ledger.give(statement(*rows)).standing() == [(-300, "usd", "Coffee", "posted")] * 2


def test_what_is_pending_is_told_of_each_currency(ledger):
    ledger.give(
        statement(holds=[pending("20240229", "-1.00", "Dollars")]),
        statement(holds=[pending("20240228", "-2.00", "Euros")], currency="EUR", moment="20240229"),
    )
    assert ledger.standing() == [(-200, "eur", "Euros", "pending"), (-100, "usd", "Dollars", "pending")]


def test_two_lists_of_one_moment_are_one(ledger):
    ledger.give(
        statement(holds=[pending("20240229", "-1.00", "One")]), statement(holds=[pending("20240228", "-2.00", "Two")]),
    )
    assert ledger.standing() == [(-200, "usd", "Two", "pending"), (-100, "usd", "One", "pending")]
    ledger.give(statement(holds=[pending("20240228", "-2.00", "Two")], moment="20240302"))
    assert ledger.standing() == [(-200, "usd", "Two", "pending")]


def posting(name="Hotel", reference="R1"):
    return entry("20240301", "-90.00", f"5<REFNUM>{reference}", name)


def test_what_is_posted_is_not_pending_any_more(ledger):
    hold = pending("20240228", "-80.00", "Hotel, held", "R1")
    assert ledger.give(statement(posting(), holds=[hold])).standing() == [(-9000, "usd", "Hotel", "posted")]


def test_an_older_file_brings_no_hold_back(ledger):
    hold, other = pending("20240228", "-80.00", "Hotel, held", "R1"), pending("20240228", "-1.00", "Gone")
    older = statement(holds=[hold, other], moment="20240229")
    ledger.give(older)
    held = ledger.id(-8000)
    newer = [(-9000, "usd", "Hotel", "posted")]
    assert ledger.give(statement(posting(), holds=[], moment="20240302")).standing() == newer
    assert ledger.id(-9000) == held
    assert ledger.give(older).standing() == newer
    # A new hold with the old reference is another.
    again = pending("20240310", "-80.00", "Hotel, again", "R1")
    ledger.give(statement(holds=[again], moment="20240311"))
    assert ledger.standing() == newer + [(-8000, "usd", "Hotel, again", "pending")]


def test_accounts_of_two_branches_are_two(raw, server):
    contents = file(statement(COFFEE, branch="10"), statement(TEA, branch="20"))
    customer = raw.customer()["id"]
    accounts = link(raw, server, contents, customer)
    assert len(accounts) == 2
    told = []
    for account in accounts:
        refresh(raw, account["id"], "transactions")
        told.append([one["amount"] for one in transactions(raw, account["id"])])
    assert sorted(told) == [[-1000], [-700]]
    assert {one["id"] for one in link(raw, server, contents, customer)} == {one["id"] for one in accounts}


def test_a_file_that_says_no_type_makes_no_other_account(raw, server):
    """Nor does one that says it of what an older one did not."""
    customer = raw.customer()["id"]
    typed, bare = file(statement(COFFEE)), file(statement(TEA)).replace(b"<ACCTTYPE>CHECKING", b"")
    (first,) = link(raw, server, typed, customer)
    refresh(raw, first["id"], "transactions")
    for contents in (bare, typed, bare):
        (again,) = link(raw, server, contents, customer)
        assert again["id"] == first["id"]
        settled(raw, first["id"], "transaction_refresh")
    assert sorted(one["amount"] for one in transactions(raw, first["id"])) == [-1000, -700]
    # Where there may be two, neither is taken for the other.
    both = file(statement(COFFEE), statement(TEA).replace("CHECKING", "SAVINGS"))
    assert len({one["id"] for one in link(raw, server, both, raw.customer()["id"])}) == 2


def test_dashes_and_spaces_in_a_number_make_no_other_account(raw, server):
    customer = raw.customer()["id"]
    (first,) = link(raw, server, file(statement(COFFEE, account="9876-5432")), customer)
    (second,) = link(raw, server, file(statement(COFFEE, account="9876 5432")), customer)
    assert first["id"] == second["id"]


@pytest.mark.parametrize("currency, amount", [("USD", "-1.234"), ("JPY", "1.234"), ("USD", "1 2"), ("USD", "1'2")])
def test_an_amount_that_may_be_another_is_not_read(ledger, currency, amount):
    ledger.give(statement(entry("20240102", amount, "1", "Odd"), TEA, currency=currency), confirm=True)
    assert [words for _, _, words, _ in ledger.standing()] == ["Tea"]


@pytest.mark.parametrize("amount, units", [
    ("-1.230", -123), ("1234.567", 123_457), ("0.125", 12), ("1 234.56", 123_456), ("-12'345.6", -1_234_560),
    (" - 12.50 ", -1250),
])
def test_an_amount_with_more_digits_than_count_is_rounded(ledger, amount, units):
    ledger.give(statement(entry("20240102", amount, "1", "Odd")))
    assert [amount for amount, *_ in ledger.standing()] == [units]
