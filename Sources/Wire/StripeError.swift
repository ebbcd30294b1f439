/// Stripe's error: a status, a type, and a sentence that names the parameter at fault.
///
/// Clients match on `code` and `param` and print `message`, so the wordings here are the API's own. One response
/// reports one problem. A fault that is not the caller's never becomes one of these but ``internalFault``.
public struct StripeError: Error, Sendable, Equatable {
    public enum Kind: String, Sendable {
        case apiError = "api_error"
        case idempotencyError = "idempotency_error"
        case invalidRequest = "invalid_request_error"
    }

    public var status: Int
    public var type: Kind
    public var code: String?
    public var param: String?
    public var message: String
    /// What the client routes add for the hosted flow, in the order in which it is written.
    public var extra: [(name: String, value: Extra)] = []
    /// Seconds after which the caller may come again; sent as `Retry-After`.
    public var retryAfter: Int?

    public enum Extra: Sendable, Equatable {
        case bool(Bool)
        case int(Int64)
        case text(String)
    }

    public init(
        status: Int = 400,
        type: Kind = .invalidRequest,
        code: String? = nil,
        param: String? = nil,
        message: String
    ) {
        self.status = status
        self.type = type
        self.code = code
        self.param = param
        self.message = message
    }

    public static func == (left: StripeError, right: StripeError) -> Bool {
        left.status == right.status && left.type == right.type && left.code == right.code
            && left.param == right.param && left.message == right.message
    }

    /// The same error with what the hosted flow needs to draw it.
    public func with(_ extra: [(name: String, value: Extra)]) -> StripeError {
        var error = self
        error.extra += extra
        return error
    }
}

// MARK: Parameters

extension StripeError {
    public static func missing(_ param: String) -> StripeError {
        StripeError(code: "parameter_missing", param: param, message: "Missing required param: \(param).")
    }

    public static func unknown(_ param: String) -> StripeError {
        unknown(param, others: [])
    }

    /// - Parameter others: further names that are not known, for the message.
    public static func unknown(_ param: String, others: [String]) -> StripeError {
        let names = ([param] + others).joined(separator: ", ")
        return StripeError(
            code: "parameter_unknown",
            param: param,
            message: "Received unknown parameter\(others.isEmpty ? "" : "s"): \(names)"
        )
    }

    public static func empty(_ param: String) -> StripeError {
        StripeError(
            code: "parameter_invalid_empty",
            param: param,
            message: "You passed an empty string for '\(param)'. We assume empty values are an attempt to unset a "
                + "parameter; however '\(param)' cannot be unset. You should remove '\(param)' from your request or "
                + "supply a non-empty value."
        )
    }

    public static func badEnum(_ param: String, allowed: [String]) -> StripeError {
        let list =
            switch allowed.count {
            case 0, 1: allowed.first ?? ""
            case 2: "\(allowed[0]) or \(allowed[1])"
            default: allowed.dropLast().joined(separator: ", ") + ", or \(allowed[allowed.count - 1])"
            }
        return StripeError(param: param, message: "Invalid \(param): must be one of \(list)")
    }

    public static func badInteger(_ param: String, _ value: String) -> StripeError {
        StripeError(code: "parameter_invalid_integer", param: param, message: "Invalid integer: \(abbreviated(value))")
    }

    public static func tooSmall(_ param: String, minimum: Int64) -> StripeError {
        StripeError(
            code: "parameter_invalid_integer",
            param: param,
            message: "This value must be greater than or equal to \(minimum)."
        )
    }

    public static func tooLarge(_ param: String, maximum: Int64) -> StripeError {
        StripeError(
            code: "parameter_invalid_integer",
            param: param,
            message: "This value must be less than or equal to \(maximum)."
        )
    }

    public static func badBoolean(_ param: String, _ value: String) -> StripeError {
        StripeError(param: param, message: "Invalid boolean: \(abbreviated(value))")
    }

    public static func badString(_ param: String) -> StripeError {
        StripeError(param: param, message: "Invalid string")
    }

    public static func badObject(_ param: String) -> StripeError {
        StripeError(param: param, message: "Invalid object")
    }

    public static func badArray(_ param: String) -> StripeError {
        StripeError(param: param, message: "Invalid array")
    }

    public static func tooLong(_ param: String, _ value: String, maximum: Int) -> StripeError {
        StripeError(
            param: param,
            message: "Invalid string: \(value.prefix(4))...\(value.suffix(4)); must be at most \(maximum) characters"
        )
    }

    public static func tooMany(_ param: String, maximum: Int) -> StripeError {
        StripeError(param: param, message: "Array \(param) exceeded maximum \(maximum) allowed elements.")
    }

    public static func badURL(_ param: String) -> StripeError {
        StripeError(code: "url_invalid", param: param, message: "Not a valid URL")
    }

    /// Values come from outside and may be long: an error shows no more than their ends.
    private static func abbreviated(_ value: String) -> String {
        value.count <= 64 ? value : "\(value.prefix(30))...\(value.suffix(30))"
    }
}

// MARK: Objects, routes, faults

extension StripeError {
    /// Where an object was looked for: an id in the path answers 404, one in a parameter 400.
    public enum Place: Sendable {
        case path(param: String)
        case parameter(String)
    }

    /// - Parameter otherMode: true where the id exists in the mode that the key is not for.
    public static func noSuch(
        _ kind: String,
        _ id: String,
        at place: Place,
        livemode: Bool,
        otherMode: Bool = false
    ) -> StripeError {
        var message = "No such \(kind): '\(abbreviated(id))'"
        if otherMode {
            let (exists, used) = livemode ? ("test", "live") : ("live", "test")
            message +=
                "; a similar object exists in \(exists) mode, but a \(used) mode key was used to make this request."
        } else if id.contains(where: { $0.isWhitespace || $0 == "\"" || $0 == "'" }) {
            message += ". Make sure you use the exact id without extra whitespace or quotes"
        }
        switch place {
        case .path(let param):
            return StripeError(status: 404, code: "resource_missing", param: param, message: message)
        case .parameter(let param):
            return StripeError(status: 400, code: "resource_missing", param: param, message: message)
        }
    }

    public static func unknownRoute(method: String, path: String) -> StripeError {
        StripeError(
            status: 404,
            message: "Unrecognized request URL (\(method): \(abbreviated(path))). If you are trying to list objects, "
                + "remove the trailing slash. If you are trying to retrieve an object, make sure you passed a valid "
                + "(non-empty) identifier in your code. Please see https://stripe.com/docs or we can help at "
                + "https://support.stripe.com/."
        )
    }

    /// The one answer to every fault that has no name of its own.
    public static let internalFault = StripeError(
        status: 500,
        type: .apiError,
        message: "An unknown error occurred. The server's log has the details under this request's id."
    )

    public static func unavailable(_ message: String) -> StripeError {
        var error = StripeError(status: 503, type: .apiError, message: message)
        error.retryAfter = 1
        return error
    }

    public static func tooLargeBody(maximum: Int) -> StripeError {
        StripeError(status: 413, message: "Request body too large: at most \(maximum) bytes are accepted.")
    }
}

// MARK: JSON

extension StripeError {
    /// Writes `{"error": {…}}`, members that are absent left out.
    /// - Parameter requestLogURL: where the operator can look the request up, or nil.
    public func write(to json: inout JSONWriter, requestLogURL: String? = nil) {
        json.object { json in
            json.object("error") { json in
                if let code {
                    json.field("code", code)
                    let page = String(code.map { $0 == "_" ? "-" : $0 })
                    json.field("doc_url", "https://stripe.com/docs/error-codes/\(page)")
                }
                if !extra.isEmpty {
                    json.object("extra_fields") { json in
                        for (name, value) in extra {
                            switch value {
                            case .bool(let bool): json.field(name, bool)
                            case .int(let int): json.field(name, int)
                            case .text(let text): json.field(name, text)
                            }
                        }
                    }
                }
                json.field("message", message)
                if let param { json.field("param", param) }
                if let requestLogURL { json.field("request_log_url", requestLogURL) }
                json.field("type", type.rawValue)
            }
        }
    }
}
