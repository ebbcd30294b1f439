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


@pytest.mark.parametrize("order", [1, -1])
def test_a_long_chain_keeps_the_transaction(ledger, order):
    ledger.give(statement(COFFEE))
    coffee = ledger.id(-1000)
    chain = [correction(f"202401{10 + at}", f"-1{at}.50", str(at + 1), str(at)) for at in range(1, 7)]
    ledger.give(statement(*chain[::order]))
    assert ledger.standing() == [(-1650, "usd", "Corrected", "posted")]
    assert [one["id"] for one in ledger.all] == [coffee]


def test_a_chain_is_followed_from_its_first_name(ledger):
    ledger.give(statement(COFFEE)).give(statement(correction("20240110", "-11.00", "2", "1")))
    coffee = ledger.id(-1100)
    # The bank names what it first called the transaction, and not its correction.
    ledger.give(statement(correction("20240112", "-12.00", "3", "1", "Last")))
    assert ledger.standing() == [(-1200, "usd", "Last", "posted")]
    assert ledger.id(-1200) == coffee
    assert ledger.give(statement(deletion("20240113", "4", "1"))).standing() == []


JUICE = entry("20240205", "-5.00", "1", "Juice")
CORRECTED = [(-1100, "usd", "Corrected", "posted"), (-500, "usd", "Juice", "posted")]


@pytest.mark.parametrize("cuts", [
    [[0, 1], [2], [0, 1, 2]], [[0, 1, 2]], [[2, 1, 0]], [[0], [2], [1]], [[0], [1], [2], [1], [0, 1, 2]],
    [[2], [1], [0]],
])
def test_a_correction_is_about_what_had_the_name_before_it(ledger, cuts):
    """The bank counts anew: the FITID of what is corrected is that of a later transaction too."""
    rows = [COFFEE, correction("20240110", "-11.00", "2", "1"), JUICE]
    for cut in cuts:
        ledger.give(statement(*(rows[at] for at in cut)))
    assert ledger.standing() == CORRECTED
    assert ledger.give(statement(*rows)).standing() == CORRECTED


def test_a_deletion_is_about_what_had_the_name_before_it(ledger):
    gone = deletion("20240110", "2", "1")
    january, february = statement(COFFEE, gone), statement(JUICE)
    expected = [(-500, "usd", "Juice", "posted")]
    for statements in ([january, february], [february, january], [statement(COFFEE, gone, JUICE)]):
        assert ledger.give(*statements).standing() == expected


def test_a_correction_is_of_its_own_currency(ledger):
    dollars = statement(COFFEE, correction("20240110", "-11.00", "8", "1"))
    euros = statement(entry("20240103", "-7.00", "1", "Kaffee"), currency="EUR")
    expected = [(-1100, "usd", "Corrected", "posted"), (-700, "eur", "Kaffee", "posted")]
    assert ledger.give(dollars, euros).standing() == expected
    assert ledger.give(euros, dollars).standing() == expected


def test_the_later_correction_counts_in_whatever_order_they_come(ledger):
    once = correction("20240110", "-11.00", "8", "1", "Once")
    twice = correction("20240111", "-12.00", "9", "1", "Twice")
    expected = [(-1200, "usd", "Twice", "posted")]
    for rows in ([twice, once, COFFEE], [COFFEE, once], [once], [COFFEE, once, twice]):
        assert ledger.give(statement(*rows)).standing() == expected


def test_an_older_correction_comes_after_a_newer_one(ledger):
    ledger.give(statement(COFFEE)).give(statement(correction("20240111", "-12.00", "9", "1", "Twice")))
    expected = [(-1200, "usd", "Twice", "posted")]
    assert ledger.give(statement(COFFEE, correction("20240110", "-11.00", "8", "1", "Once"))).standing() == expected
    assert ledger.give(statement(deletion("20240109", "7", "1"))).standing() == expected


@pytest.mark.parametrize("action", ["REPLACE", "DELETE"])
def test_a_correction_waits_for_what_it_corrects(ledger, action):
    newer = statement(correction("20240201", "-11.00", "8", "1", action=action), TEA)
    ledger.give(newer).give(statement(COFFEE))
    tea = (-700, "usd", "Tea", "posted")
    expected = [tea] if action == "DELETE" else [(-1100, "usd", "Corrected", "posted"), tea]
    for again in (newer, statement(COFFEE, TEA), newer):
        assert ledger.standing() == expected
        ledger.give(again)
    # A later one with the name is another.
    assert ledger.give(statement(entry("20240205", "-5.00", "1", "Juice"))).standing() == sorted(
        expected + [(-500, "usd", "Juice", "posted")])


JUICE_EARLY = entry("20240105", "-5.00", "1", "Juice")
ONCE = correction("20240110", "-5.50", "8", "1", "Once")
GONE = deletion("20240110", "8", "1")
LATER = correction("20240111", "-6.00", "9", "1", "Later")


@pytest.mark.parametrize("files, expected", [
    # What waited has found what it corrects: an older one with the name is another.
    ([[ONCE, TEA], [JUICE_EARLY, ONCE], [COFFEE]], {"Coffee": -1000, "Once": -550, "Tea": -700}),
    ([[GONE, TEA], [JUICE_EARLY, GONE], [COFFEE]], {"Coffee": -1000, "Tea": -700}),
    # Of several it is the last before the correction, wherever it stands.
    ([[ONCE], [COFFEE, JUICE_EARLY]], {"Coffee": -1000, "Once": -550}),
    ([[ONCE], [JUICE_EARLY, COFFEE]], {"Coffee": -1000, "Once": -550}),
    # Several may wait for one.
    ([[ONCE, LATER], [JUICE_EARLY]], {"Later": -600}),
    ([[ONCE], [LATER], [JUICE_EARLY]], {"Later": -600}),
    ([[ONCE], [deletion("20240111", "9", "1"), TEA], [JUICE_EARLY]], {"Tea": -700}),
    ([[JUICE_EARLY], [ONCE], [LATER]], {"Later": -600}),
])
def test_corrections_that_wait_find_what_they_are_about(ledger, files, expected):
    for rows in files:
        ledger.give(statement(*rows))
    assert {words: amount for amount, _, words, _ in ledger.standing()} == expected
    assert len(ledger.standing()) == len(expected)


def test_one_name_given_twice_in_no_order_over_pages(ledger):
    rows = [entry(f"202401{10 + at % 19}", f"-{at}.00", f"F{at}", "x") for at in range(1, 2101)]
    ends = [entry("20240102", "-3.00", "77", words) for words in ("Coffee", "Tea")]
    ledger.give(statement(ends[0], *rows, ends[1]))
    assert len(ledger.standing()) == 2102


def test_many_corrections_of_one_name_end(ledger):
    chain = [correction("20240102", f"-{at}.00", "1", "1", "x") for at in range(1, 1500)]
    ledger.give(statement(COFFEE, *chain))
    assert len(ledger.standing()) == 1


def test_an_older_file_brings_no_balance_back(ledger):
    ledger.give(statement(COFFEE))
    assert refresh(ledger.raw, ledger.account, "balance")["balance"]["current"] == {"usd": 100}
    newer = statement(COFFEE, moment="20240401").replace("<BALAMT>1.00", "<BALAMT>2.00")
    for given in (newer, statement(COFFEE)):
        ledger.give(given)
        shown = settled(ledger.raw, ledger.account, "balance_refresh")
        assert shown["balance"]["current"] == {"usd": 200}


def test_a_chain_may_be_told_backwards(ledger):
    ledger.give(statement(correction("20240111", "-12.00", "3", "2", "Last")))
    ledger.give(statement(correction("20240110", "-11.00", "2", "1", "Middle"))).give(statement(COFFEE))
    assert ledger.standing() == [(-1200, "usd", "Last", "posted")]
    ledger.give(statement(COFFEE, correction("20240110", "-11.00", "2", "1", "Middle")))
    assert ledger.standing() == [(-1200, "usd", "Last", "posted")]


@pytest.mark.parametrize("files", [1, 3])
def test_a_correction_may_put_back_what_was_told_first(ledger, files):
    rows = [COFFEE, correction("20240102", "-11.00", "1", "1"), correction("20240102", "-10.00", "1", "1", "Back")]
    for cut in [rows] if files == 1 else [[row] for row in rows]:
        ledger.give(statement(*cut))
    expected = [(-1000, "usd", "Back", "posted")]
    assert ledger.standing() == expected
    for again in (rows[:1], rows[:2], rows):
        assert ledger.give(statement(*again)).standing() == expected


@pytest.mark.parametrize("files", [1, 3])
def test_a_chain_may_come_back_to_its_first_name(ledger, files):
    rows = [
        COFFEE, correction("20240110", "-11.00", "2", "1"), correction("20240111", "-12.00", "1", "2", "Last"),
    ]
    for cut in [rows] if files == 1 else [[row] for row in rows]:
        ledger.give(statement(*cut))
    assert ledger.standing() == [(-1200, "usd", "Last", "posted")]


@pytest.mark.parametrize("files", [1, 2])
def test_what_was_taken_back_may_be_replaced_later(ledger, files):
    rows = [COFFEE, deletion("20240103", "7", "1"), correction("20240104", "-11.00", "8", "1")]
    for cut in [rows] if files == 1 else [rows[:2], rows[2:]]:
        ledger.give(statement(*cut))
    assert ledger.standing() == CORRECTED[:1]
    assert ledger.give(statement(*rows[:2])).standing() == CORRECTED[:1]


def test_a_correction_without_a_name_is_carried_out_once(ledger):
    nameless = correction("20240110", "-11.00", "", "1")
    ledger.give(statement(COFFEE)).give(statement(nameless)).give(statement(JUICE))
    assert ledger.give(statement(nameless)).standing() == CORRECTED


def test_many_corrections_of_one_another_end(ledger):
    """Each is carried out once, and not with all others again."""
    chain = [entry("20240102", "-1.00", "0x0", "x")]
    chain += [correction("20240102", f"-{at}.00", f"0x{at}", f"0x{at - 1}") for at in range(1, 1500)]
    ends = [deletion("20240103", f"d{at}", "0x1499") for at in range(400)]
    again = [correction("20240104", f"-{at}.00", f"e{at}", "0x1499", "Last") for at in range(1, 400)]
    ledger.give(statement(*chain, *ends, *again))
    assert ledger.standing() == [(-39_900, "usd", "Last", "posted")]


def test_a_name_may_be_given_on_many_days(ledger):
    days = [entry(f"202402{day:02}", "-5.00", "1", f"Juice {day}") for day in range(1, 20)]
    ledger.give(statement(COFFEE, *days)).give(statement(correction("20240110", "-11.00", "8", "1")))
    assert (-1100, "usd", "Corrected", "posted") in ledger.standing() and len(ledger.standing()) == 20


def test_corrected_words_stay_corrected(ledger):
    expected = [(-1000, "usd", "Kaffee", "posted")]
    ledger.give(statement(COFFEE)).give(statement(correction("20240102", "-10.00", "1", "1", "Kaffee")))
    assert ledger.standing() == expected
    assert ledger.give(statement(COFFEE)).standing() == expected


def test_a_correction_that_is_told_as_if_it_were_none_is_the_same(ledger):
    ledger.give(statement(COFFEE)).give(statement(correction("20240110", "-11.00", "2", "1")))
    coffee = ledger.id(-1100)
    ledger.give(statement(COFFEE, entry("20240110", "-11.00", "2", "Corrected")))
    assert ledger.standing() == CORRECTED[:1] and ledger.id(-1100) == coffee


def test_one_name_for_all_in_no_order_over_pages(ledger):
    rows = [entry(f"202401{10 + at % 19}", f"-{at}.00", "77", "x") for at in range(1, 2101)]
    ends = [entry("20240102", "-3.00", "77", words) for words in ("Coffee", "Tea")]
    ledger.give(statement(ends[0], *rows, ends[1]))
    assert len(ledger.standing()) == 2102


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


def test_a_hold_becomes_what_its_posting_was_corrected_to(ledger):
    ledger.give(statement(holds=[pending("20240228", "-80.00", "Hotel, held", "R1")], moment="20240229"))
    held = ledger.id(-8000)
    ledger.give(statement(posting(), correction("20240302", "-95.00", "8", "5", "Hotel")))
    assert ledger.standing() == [(-9500, "usd", "Hotel", "posted")] and ledger.id(-9500) == held
    # A hold of the day of the correction is another.
    again = pending("20240302", "-80.00", "Hotel, again", "R1")
    rows = [posting(), correction("20240302", "-95.00", "8", "5", "Hotel")]
    for order in (rows, rows[::-1]):
        ledger.give(statement(*order, holds=[again], moment="20240303"))
        assert (-8000, "usd", "Hotel, again", "pending") in ledger.standing() and len(ledger.standing()) == 2


@pytest.mark.parametrize("action", ["REPLACE", "DELETE"])
def test_a_hold_ends_with_a_posting_that_was_awaited(ledger, action):
    ledger.give(statement(holds=[pending("20240228", "-80.00", "Hotel, held", "R1")], moment="20240229"))
    ledger.give(statement(correction("20240302", "-95.00", "8", "5", "Hotel", action), TEA))
    ledger.give(statement(posting()))
    tea = (-700, "usd", "Tea", "posted")
    assert ledger.standing() == ([tea] if action == "DELETE" else [(-9500, "usd", "Hotel", "posted"), tea])


def test_a_hold_ends_with_its_posting_that_was_corrected_before(ledger):
    """A file that lists the newest first."""
    ledger.give(statement(holds=[pending("20240228", "-80.00", "Hotel, held", "R1")], moment="20240229"))
    ledger.give(statement(correction("20240302", "-95.00", "8", "5", "Hotel"), posting()))
    assert ledger.standing() == [(-9500, "usd", "Hotel", "posted")]


def test_a_reference_of_zeros_is_none_and_a_refund_no_posting(ledger):
    holds = [pending("20240228", "-80.00", "One", "000000"), pending("20240228", "-9.00", "Two", "000000")]
    refund = entry("20240301", "20.00", "6<REFNUM>R1", "Refund")
    ledger.give(statement(posting(reference="000000"), refund, holds=holds + [
        pending("20240228", "-70.00", "Three", "R1"),
    ]))
    assert ledger.standing() == [
        (-9000, "usd", "Hotel", "posted"), (-8000, "usd", "One", "pending"), (-7000, "usd", "Three", "pending"),
        (-900, "usd", "Two", "pending"), (2000, "usd", "Refund", "posted"),
    ]


def test_a_new_hold_may_have_the_reference_of_what_is_posted(ledger):
    later = pending("20240302", "-80.00", "Hotel, again", "R1")
    expected = [(-9000, "usd", "Hotel", "posted"), (-8000, "usd", "Hotel, again", "pending")]
    assert ledger.give(statement(posting(), holds=[later], moment="20240303")).standing() == expected
    assert ledger.give(statement(posting())).standing() == expected
    assert ledger.give(statement(posting(), holds=[later], moment="20240304")).standing() == expected


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
    # Another kind of account with the number is another, also when the last file did not say the kind.
    savings = file(statement(TEA).replace("CHECKING", "SAVINGS"))
    (other,) = link(raw, server, savings, customer)
    assert other["id"] != first["id"]
    both = file(statement(COFFEE), statement(TEA).replace("CHECKING", "SAVINGS"))
    assert {one["id"] for one in link(raw, server, both, customer)} == {first["id"], other["id"]}
    # Where it may be either, it is neither.
    (third,) = link(raw, server, bare, customer)
    assert third["id"] not in (first["id"], other["id"])


def test_a_file_that_says_the_type_at_last_is_of_the_same_account(raw, server):
    customer = raw.customer()["id"]
    bare = file(statement(TEA)).replace(b"<ACCTTYPE>CHECKING", b"")
    (first,) = link(raw, server, bare, customer)
    (second,) = link(raw, server, file(statement(COFFEE)), customer)
    assert second["id"] == first["id"]


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
