/// What institutions say, in the words of the product, and what tests made, in the words of institutions.

internal import Connections
internal import Institutions

extension Account.Balance {
    init(_ balance: Balance) {
        switch balance.kind {
        case .cash(let available):
            self.init(asOf: balance.asOf, current: balance.current, isCredit: false, amounts: available)
        case .credit(let used):
            self.init(asOf: balance.asOf, current: balance.current, isCredit: true, amounts: used)
        }
    }
}

extension Balance {
    init(_ balance: Account.Balance) {
        self.init(
            asOf: balance.asOf,
            current: balance.current,
            kind: balance.isCredit ? .credit(used: balance.amounts) : .cash(available: balance.amounts)
        )
    }
}

extension Connections.Owner {
    init(_ owner: Institutions.Owner) {
        self.init(name: owner.name, email: owner.email, phone: owner.phone, address: owner.address)
    }
}

extension Institutions.Owner {
    init(_ owner: Connections.Owner) {
        self.init(name: owner.name, email: owner.email, phone: owner.phone, address: owner.address)
    }
}

extension Renewer.Turn {
    init(_ turn: Authorization.Turn) {
        self =
            switch turn {
            case .renewed(let credential): .renewed(credential)
            case .busy: .busy
            case .granted(let stored, let fence): .granted(stored, fence: fence)
            case .gone: .gone
            }
    }
}

extension Transaction.Entry {
    init(_ transaction: BankTransaction) {
        self.init(
            institutionID: transaction.id,
            replaces: transaction.replaces,
            corrects: transaction.corrects,
            amount: transaction.amount,
            currency: transaction.currency,
            description: transaction.description,
            status: .init(transaction.status),
            transactedAt: transaction.transactedAt,
            settledAt: transaction.settledAt
        )
    }
}

extension Transaction.Retraction {
    init(_ retraction: TransactionPage.Retraction) {
        self.init(institutionID: retraction.id, retracts: retraction.retracts, at: retraction.at)
    }
}

extension Transaction.Status {
    fileprivate init(_ status: BankTransaction.Status) {
        self =
            switch status {
            case .pending: .pending
            case .posted: .posted
            case .void: .void
            }
    }
}

extension BankTransaction {
    init(_ entry: Transaction.Entry) {
        let status: Status =
            switch entry.status {
            case .pending: .pending
            case .posted: .posted
            case .void: .void
            }
        self.init(
            id: entry.institutionID,
            replaces: entry.replaces,
            corrects: entry.corrects,
            amount: entry.amount,
            currency: entry.currency,
            description: entry.description,
            status: status,
            transactedAt: entry.transactedAt,
            settledAt: entry.settledAt
        )
    }
}
