/// Pages of lists: keyset paging, newest first, at the same cost at any depth.

internal import Database
public import Wire

public struct PageRequest: Sendable {
    public static let names: [String: Parameters.Names] = [
        "limit": .leaf, "starting_after": .leaf, "ending_before": .leaf,
    ]
    public static let defaultLimit = 10

    /// 1 through 100.
    public let limit: Int
    public let cursor: Cursor?

    public enum Cursor: Sendable, Equatable {
        /// The objects older than this one.
        case startingAfter(String)
        /// The objects next newer than this one.
        case endingBefore(String)
    }

    public init(_ parameters: Parameters) throws(StripeError) {
        limit = Int(try parameters.integer("limit", in: 1...100) ?? Int64(Self.defaultLimit))
        let after = try parameters.string("starting_after")
        let before = try parameters.string("ending_before")
        if after != nil && before != nil {
            throw StripeError(
                message: "Received both starting_after and ending_before parameters. Please pass in only one."
            )
        }
        cursor = after.map(Cursor.startingAfter) ?? before.map(Cursor.endingBefore)
    }

    init(limit: Int) {
        self.limit = limit
        cursor = nil
    }
}

/// A page, newest first.
struct Page<Element> {
    let elements: [Element]
    let hasMore: Bool

    init(elements: [Element], hasMore: Bool) {
        self.elements = elements
        self.hasMore = hasMore
    }

    /// - Parameters:
    ///   - keys: the columns that the list is ordered by, all of them numbers; the id breaks their ties.
    ///   - select: a query up to and with its conditions, over a table that has the keys and `id`, to which the keyset
    ///     condition, the order and the limit are added.
    ///   - start: the keys of the object that a cursor names, nil where there is none.
    /// - Throws: `resource_missing` for a cursor that names nothing.
    init(
        _ request: PageRequest,
        by keys: [SQL],
        of kind: String,
        in scope: Scope,
        _ db: Connection,
        select: SQL,
        start: (String) throws -> [Int64]?,
        read: (Row) throws -> Element
    ) throws {
        var columns: SQL = ""
        var (newest, oldest): (SQL, SQL) = ("", "")
        for key in keys {
            columns = "\(columns)\(key), "
            newest = "\(newest)\(key) DESC, "
            oldest = "\(oldest)\(key) ASC, "
        }
        func position(_ id: String, _ param: String) throws -> SQL {
            guard let values = try start(id) else {
                throw StripeError.noSuch(kind, id, at: .parameter(param), livemode: scope.livemode)
            }
            var position: SQL = ""
            for value in values { position = "\(position)\(value), " }
            return "(\(position)\(id))"
        }
        let fetched: [Element]
        switch request.cursor {
        case nil:
            fetched = try db.all("\(select) ORDER BY \(newest)id DESC LIMIT \(request.limit + 1)", read)
        case .startingAfter(let id):
            let last = try position(id, "starting_after")
            fetched = try db.all(
                "\(select) AND (\(columns)id) < \(last) ORDER BY \(newest)id DESC LIMIT \(request.limit + 1)",
                read
            )
        case .endingBefore(let id):
            let first = try position(id, "ending_before")
            fetched = try db.all(
                "\(select) AND (\(columns)id) > \(first) ORDER BY \(oldest)id ASC LIMIT \(request.limit + 1)",
                read
            )
        }
        hasMore = fetched.count > request.limit
        let page = Array(fetched.prefix(request.limit))
        if case .endingBefore = request.cursor {
            elements = page.reversed()
        } else {
            elements = page
        }
    }

    /// A page of objects in the order in which they were created.
    /// - Parameter moment: when the object that a cursor names was made, nil where there is none.
    init(
        _ request: PageRequest,
        of kind: String,
        in scope: Scope,
        _ db: Connection,
        select: SQL,
        moment: (String) throws -> Int64?,
        read: (Row) throws -> Element
    ) throws {
        try self.init(
            request,
            by: ["created"],
            of: kind,
            in: scope,
            db,
            select: select,
            start: { id in try moment(id).map { [$0] } },
            read: read
        )
    }
}

extension JSONWriter {
    /// The members of a list object.
    /// - Parameters:
    ///   - url: where the list continues; it really works, with its query.
    ///   - totalCount: written only where it is given.
    mutating func list<Element>(
        _ elements: [Element],
        hasMore: Bool,
        totalCount: Int64? = nil,
        url: String,
        _ write: (Element, inout JSONWriter) throws -> Void
    ) rethrows {
        field("object", "list")
        try array("data") { json in
            for element in elements {
                json.element()
                try write(element, &json)
            }
        }
        field("has_more", hasMore)
        if let totalCount { field("total_count", totalCount) }
        field("url", url)
    }
}

/// A list in a column: texts joined by commas.
enum Joined {
    static func text(_ values: [String]) -> String { values.joined(separator: ",") }

    static func values(_ text: String) -> [String] { text.split(separator: ",").map(String.init) }
}
