/// An account as people have them: a balance, an owner, and what happens on it from month to month.
///
/// It promises that all of it follows from the account's id, its kind, its name and the time. Names of accounts that
/// promise something are kept: savings named `High Balance` are high, a checking account named `Insufficient Funds`
/// holds less than ten units of its currency, one named `Account Closed` nothing. The balance moves with what is
/// posted but is not the sum of all that ever happened.

struct TypicalAccount {
    private let id: String
    private let name: String
    private let kind: Kind
    private let currency: String

    private enum Kind {
        case checking, savings, creditCard, lineOfCredit, mortgage, investment

        init(_ category: BankAccount.Category, _ subcategory: BankAccount.Subcategory) {
            switch (category, subcategory) {
            case (.investment, _): self = .investment
            case (_, .mortgage): self = .mortgage
            case (_, .lineOfCredit): self = .lineOfCredit
            case (.credit, _): self = .creditCard
            case (_, .checking): self = .checking
            default: self = .savings
            }
        }
    }

    init(_ account: BankAccount, currency: String = "usd") {
        id = account.id
        name = account.displayName
        kind = Kind(account.category, account.subcategory)
        self.currency = currency
    }

    var activity: Activity { Activity(currency: currency, patterns: patterns) }

    // MARK: Balance

    func balance(at now: Int64) -> Balance {
        func amounts(_ amount: Int64) -> [String: Int64] { [currency: amount] }
        func cash(_ current: Int64, available: Int64) -> Balance {
            Balance(asOf: now, current: amounts(current), kind: .cash(available: amounts(available)))
        }
        func credit(_ current: Int64, used: Int64) -> Balance {
            Balance(asOf: now, current: amounts(min(current, 0)), kind: .credit(used: amounts(min(used, 0))))
        }
        switch (kind, name) {
        case (.checking, "Account Closed"): return cash(0, available: 0)
        case (.checking, "Insufficient Funds"):
            let amount = settled("balance", 50...999)
            return cash(amount, available: amount)
        case (.mortgage, _):
            let debt = mortgageDebt(at: now)
            return credit(-debt, used: -debt)
        case (.investment, _):
            var chance = Chance(Chance.hash([id, "market"]), now.floored(by: CivilDay.seconds))
            let value = settled("balance", 1_500_000...12_000_000)
            let sums = activity.sums(at: now)
            return cash(
                value + value / 1000 * chance.number(in: -25...25) + sums.posted,
                available: value / 20 + sums.posted + sums.pending
            )
        default:
            let sums = activity.sums(at: now)
            let current = opening + sums.posted
            return kind == .checking || kind == .savings
                ? cash(current, available: current + sums.pending) : credit(current, used: current + sums.pending)
        }
    }

    /// What the balance is without the movements of the last thirty days.
    private var opening: Int64 {
        switch kind {
        case .checking: settled("balance", 450_000...900_000)
        case .savings: settled("balance", 400_000...3_000_000) + (name == "High Balance" ? 25_000_000 : 0)
        case .creditCard: -settled("balance", 120_000...260_000)
        default: -settled("balance", 200_000...900_000)
        }
    }

    /// Paid back in equal parts over thirty years, from some month between 2012 and 2024 on.
    private func mortgageDebt(at now: Int64) -> Int64 {
        let months = CivilDay(now).months - settled("origin", 504...648)
        return settled("balance", 18_000_000...42_000_000) / 360 * min(max(360 - months, 0), 360)
    }

    // MARK: Owners

    /// - Parameter household: people of one household live in one place and share a name.
    static func person(_ household: String, _ number: Int64 = 0) -> Owner {
        let home = Chance.hash([household])
        var person = Chance(home, number + 1)
        var place = Chance(home, 0)
        let (given, family) = (person.pick(givenNames), place.pick(familyNames))
        let street = "\(place.number(in: 2...980)) \(place.pick(streets))"
        return Owner(
            name: "\(given) \(family)",
            email: "\(given).\(family)@example.com".lowercased(),
            phone: "+1 555 555 01\(person.number(in: 10...99))",
            address: "\(street), \(place.pick(cities))"
        )
    }

    private static let givenNames = [
        "Amara", "Bruno", "Carmen", "Dmitri", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kamala", "Leon",
        "Mei", "Nadia", "Oscar", "Priya", "Quentin", "Rosa", "Samuel", "Tomoko",
    ]
    private static let familyNames = [
        "Abara", "Becker", "Castillo", "Dubois", "Eriksen", "Fontana", "Gupta", "Hansen", "Ito", "Jansen", "Kowalski",
        "Lindqvist", "Moreau", "Novak", "Okafor", "Petrov", "Quinn", "Rossi", "Silva", "Tanaka",
    ]
    private static let streets = [
        "Alder Street", "Birch Avenue", "Canal Road", "Dove Lane", "Elm Court", "Foundry Street", "Garden Terrace",
        "Harbor Way",
    ]
    private static let cities = [
        "Albany, NY 12203, US", "Boise, ID 83702, US", "Denver, CO 80203, US", "Madison, WI 53703, US",
        "Portland, OR 97205, US", "Raleigh, NC 27601, US", "Tucson, AZ 85701, US", "Tulsa, OK 74103, US",
    ]

    // MARK: What happens

    var patterns: [Pattern] {
        switch kind {
        case .checking: income + housing + [groceries, eating, fuel] + bills + saving(sign: -1) + interest(20...180)
        case .savings: saving(sign: 1) + [withdrawal] + interest(400...2500)
        case .creditCard: [groceries, eating, fuel, shopping, stream, cardPayment] + interest(-3500...(-900))
        case .lineOfCredit: [draw] + repayment(15_000...40_000) + interest(-6000...(-1500))
        case .mortgage: repayment(120_000...260_000) + interest(-140_000...(-60_000))
        case .investment: investing
        }
    }

    /// An amount that the account keeps.
    private func settled(_ key: String, _ range: ClosedRange<Int64>) -> Int64 {
        var chance = Chance(id, "settled", key)
        return chance.number(in: range)
    }

    /// One of many that the account keeps.
    private func settled(_ key: String, _ choices: [String]) -> String {
        var chance = Chance(id, "settled", key)
        return chance.pick(choices)
    }

    /// Is posted at once, always with the same amount, to or from the same party.
    private func standing(
        _ key: String,
        _ rhythm: Pattern.Rhythm,
        _ parties: [String],
        _ amount: ClosedRange<Int64>
    ) -> Pattern {
        let amount = settled(key, amount)
        return Pattern(key, of: id, rhythm, [settled("\(key) party", parties)], amount...amount)
    }

    /// Is paid by card some time after the slot begins, and pending for one to three days.
    private func card(
        _ key: String,
        every days: Int64,
        _ parties: [String],
        _ amount: ClosedRange<Int64>,
        percent: Int64
    ) -> Pattern {
        Pattern(
            key,
            of: id,
            .days(days, from: settled("\(key) day", 0...days - 1), hour: 0),
            parties,
            amount,
            spread: days * CivilDay.seconds - 1,
            percent: percent,
            pending: CivilDay.seconds...3 * CivilDay.seconds,
            voidOneIn: 25
        )
    }

    private func monthly(_ day: Int64, hour: Int64 = 6) -> Pattern.Rhythm { .monthly(day: day, second: hour * 3600) }

    private func interest(_ amount: ClosedRange<Int64>) -> [Pattern] {
        [
            Pattern(
                "interest",
                of: id,
                monthly(31, hour: 22),
                [amount.lowerBound < 0 ? "Interest charged" : "Interest paid"],
                amount
            )
        ]
    }

    private var income: [Pattern] {
        let employers = ["Northwind Foods", "Blue Heron Clinic", "Larkspur Schools", "Granite Freight"]
        // A Friday, in one of two weeks.
        let day = 1 + 7 * settled("payroll week", 0...1)
        return [
            standing(
                "payroll",
                .days(14, from: day, hour: 7),
                employers.map { "Payroll \($0)" },
                190_000...320_000
            )
        ]
    }

    private var housing: [Pattern] {
        let amount = -settled("rent", 90_000...170_000)
        return [
            Pattern(
                "rent",
                of: id,
                monthly(1, hour: 9),
                [settled("rent party", ["Rent Maple Court Homes", "Rent Riverside Lofts"])],
                amount...amount,
                pending: CivilDay.seconds...CivilDay.seconds
            )
        ]
    }

    private var groceries: Pattern {
        let shops = ["Corner Greens", "Family Market", "Sunrise Grocers", "Baker & Daughters"]
        return card("groceries", every: 3, shops, -14_200...(-1840), percent: 90)
    }

    private var eating: Pattern {
        let places = ["Kettle Coffee", "Noodle House", "Taqueria Sol", "The Green Spoon", "Pizzeria Fuoco"]
        return card("eating", every: 2, places, -4800...(-350), percent: 70)
    }

    private var fuel: Pattern {
        card("fuel", every: 7, ["Metro Transit", "Roadside Fuel", "City Parking"], -6200...(-275), percent: 80)
    }

    private var shopping: Pattern {
        let shops = ["Paper & Ink", "Hammer and Nail", "Trail Outfitters"]
        return card("shopping", every: 6, shops, -18_000...(-900), percent: 75)
    }

    private var stream: Pattern { standing("stream", monthly(17), ["Streamline Video"], -1999...(-799)) }

    private var bills: [Pattern] {
        [
            standing("power", monthly(12), ["Valley Power & Light", "Lakeside Energy"], -14_000...(-5500)),
            standing("phone", monthly(20), ["Beacon Mobile"], -8500...(-2500)),
            standing("card payment", monthly(25, hour: 14), ["Credit card payment"], -70_000...(-25_000)),
        ]
    }

    private func saving(sign: Int64) -> [Pattern] {
        let amount = sign * settled("saving", 100...500) * 100
        let description = sign < 0 ? "Transfer to savings" : "Transfer from checking"
        return [Pattern("saving", of: id, monthly(3), [description], amount...amount)]
    }

    private var withdrawal: Pattern {
        card("withdrawal", every: 30, ["Transfer to checking"], -60_000...(-5000), percent: 50)
    }

    private var cardPayment: Pattern {
        standing("payment", monthly(25, hour: 15), ["Payment received, thank you"], 40_000...90_000)
    }

    private var draw: Pattern { card("draw", every: 40, ["Advance"], -90_000...(-10_000), percent: 60) }

    private func repayment(_ amount: ClosedRange<Int64>) -> [Pattern] {
        [standing("payment", monthly(1, hour: 8), ["Payment received, thank you"], amount)]
    }

    private var investing: [Pattern] {
        [
            standing("contribution", monthly(2), ["Contribution"], 20_000...90_000),
            card("buy", every: 21, ["Buy Global Index Fund", "Buy Bond Fund"], -60_000...(-8000), percent: 80),
            Pattern(
                "dividend",
                of: id,
                .days(91, from: settled("dividend day", 0...90), hour: 20),
                ["Dividend Global Index Fund"],
                1500...24_000
            ),
            standing("fee", monthly(28), ["Advisory fee"], -1500...(-300)),
        ]
    }
}
