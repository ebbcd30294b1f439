/// The line to the banks: the one way in which connectors reach the network.
///
/// It promises that no connector decides where it may go, how long it waits or how much it reads: that is the policy of
/// `Outbound` and the limits here. Redirects are not followed. What goes wrong becomes a ``ConnectorError``, which
/// carries nothing of the request or the reply: secrets stand in both.

internal import FoundationEssentials
public import Outbound

public struct Line: Sendable {
    /// Bytes of one answer. The longest are statements and lists of transactions.
    private static let maximumReply = 8 * 1024 * 1024

    /// Some servers refuse whoever does not say what they are.
    private static let userAgent = (name: "User-Agent", value: "Linkspan")

    private let outbound: Outbound
    private let patience: Duration

    /// - Parameter patience: how long one answer may take, where the connector knows nothing better.
    public init(_ outbound: Outbound, patience: Duration = .seconds(10)) {
        self.outbound = outbound
        self.patience = patience
    }

    /// Sends a request, whose own limits do not count. Every status is an answer.
    /// - Parameter own: for protocols in which an answer takes longer than elsewhere.
    func send(
        _ request: Outbound.Request,
        within own: Duration? = nil
    ) async throws(ConnectorError) -> Outbound.Reply {
        var request = request
        request.timeout = max(own ?? patience, patience)
        if !request.headers.contains(where: { $0.name == Self.userAgent.name }) {
            request.headers.append(Self.userAgent)
        }
        request.maximumReply = Self.maximumReply
        request.whenLonger = .fail
        do {
            return try await outbound.send(request)
        } catch {
            switch error {
            case .unresolved, .unreachable, .broken, .timedOut, .cancelled: throw .institutionUnavailable(until: nil)
            case .tls: throw .untrusted
            case .notAllowed, .invalidURL, .invalidRequest, .tooLong: throw .invalidResponse
            }
        }
    }
}

extension Outbound.Reply {
    /// The body as JSON of this type.
    func json<T: Decodable>(_ type: T.Type) throws(ConnectorError) -> T {
        do {
            return try JSONDecoder().decode(type, from: Data(body))
        } catch {
            throw .invalidResponse
        }
    }
}
