/// A bank account that a person typed by hand in the flow: a token on the Session instead of a linked account. The
/// account number itself is not kept, only its last four digits and a mark by which equal ones are told.

public import Database
public import Vault
public import Wire

public struct BankAccountToken: Sendable {
    public let id: String
    private let bankAccount: String
    private let scope: Scope
    private let created: Int64
    private let last4: String
    private let routingNumber: String
    private let fingerprint: String

    // MARK: Parameters

    /// A routing and an account number, checked.
    public struct Request: Sendable {
        let routingNumber: String
        let accountNumber: String

        /// - Parameter group: `bank_account`.
        public init(_ group: Parameters) throws(StripeError) {
            routingNumber = try group.requiredString("routing_number")
            accountNumber = try group.requiredString("account_number")
            guard Self.isRoutingNumber(routingNumber) else {
                throw StripeError(
                    code: "routing_number_invalid",
                    param: group.path("routing_number"),
                    message: "Invalid routing number for US. The number must contain 9 digits and pass its checksum."
                )
            }
            guard (4...17).contains(accountNumber.utf8.count), accountNumber.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 })
            else {
                throw StripeError(
                    code: "account_number_invalid",
                    param: group.path("account_number"),
                    message: "Invalid account number: it must contain 4 to 17 digits."
                )
            }
        }

        /// Nine digits, weighted 3, 7, 1, whose sum is a multiple of ten.
        private static func isRoutingNumber(_ text: String) -> Bool {
            let digits = text.utf8.map { Int($0) - 48 }
            guard digits.count == 9, digits.allSatisfy({ (0...9).contains($0) }), digits.contains(where: { $0 > 0 })
            else { return false }
            let weights = [3, 7, 1, 3, 7, 1, 3, 7, 1]
            return zip(digits, weights).reduce(0) { $0 + $1.0 * $1.1 } % 10 == 0
        }
    }

    // MARK: Statements

    /// Gives a Session its token; a later one replaces it.
    public static func attach(
        _ request: Request,
        to session: Session,
        _ db: Connection,
        _ world: World,
        _ ring: KeyRing
    ) throws -> BankAccountToken {
        let token = BankAccountToken(
            id: world.id(.token),
            bankAccount: world.id(.bankAccount),
            scope: session.scope,
            created: world.now(),
            last4: String(request.accountNumber.suffix(4)),
            routingNumber: request.routingNumber,
            fingerprint: ring.fingerprint("\(request.routingNumber)|\(request.accountNumber)")
        )
        try db.execute(
            """
            INSERT INTO bank_account_token
                (merchant, livemode, session, id, bank_account, created, last4, routing_number, fingerprint)
            VALUES (\(token.scope.merchant), \(token.scope.livemode), \(session.id), \(token.id), \(token.bankAccount),
                \(token.created), \(token.last4), \(token.routingNumber), \(token.fingerprint))
            ON CONFLICT (merchant, livemode, session) DO UPDATE SET id = excluded.id,
                bank_account = excluded.bank_account, created = excluded.created, last4 = excluded.last4,
                routing_number = excluded.routing_number, fingerprint = excluded.fingerprint
            """
        )
        return token
    }

    static func find(of session: String, in scope: Scope, _ db: Connection) throws -> BankAccountToken? {
        try db.first(
            """
            SELECT id, bank_account, created, last4, routing_number, fingerprint FROM bank_account_token
            WHERE merchant = \(scope.merchant) AND livemode = \(scope.livemode) AND session = \(session)
            """
        ) { row in
            BankAccountToken(
                id: try row.text(0),
                bankAccount: try row.text(1),
                scope: scope,
                created: try row.int(2),
                last4: try row.text(3),
                routingNumber: try row.text(4),
                fingerprint: try row.text(5)
            )
        }
    }

    // MARK: JSON

    /// What the mobile SDKs show of an account that was typed by hand.
    func writePaymentAccount(to json: inout JSONWriter) {
        json.object("payment_account") { json in
            json.field("id", bankAccount)
            json.nullField("bank_name")
            json.field("last4", last4)
            json.field("routing_number", routingNumber)
        }
    }

    func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("id", id)
            json.field("object", "token")
            json.object("bank_account") { json in
                json.field("id", bankAccount)
                json.field("object", "bank_account")
                json.nullField("account_holder_name")
                json.nullField("account_holder_type")
                json.nullField("account_type")
                json.nullField("bank_name")
                json.field("country", "US")
                json.field("currency", "usd")
                json.field("fingerprint", fingerprint)
                json.field("last4", last4)
                json.field("routing_number", routingNumber)
                json.field("status", "new")
            }
            json.nullField("client_ip")
            json.field("created", created)
            json.field("livemode", scope.livemode)
            json.field("type", "bank_account")
            json.field("used", false)
        }
    }
}
