/// The renewal of a credential that is spent by it, such as a refresh token that rotates.
///
/// One call at a time asks the institution, for all that hang on the credential, and what came is stored before it is
/// used. Where it is stored, and how a turn is taken there, says whoever keeps it. Once the institution is asked,
/// nothing breaks it off: one that waits may be cancelled, but what came for a token that is spent is stored all the
/// same.

public struct Renewer: Sendable {
    /// What became of asking for the turn.
    public enum Turn: Sendable {
        /// The credential was renewed in the meantime; this is the new one.
        case renewed([UInt8])
        /// Another call is at it.
        case busy
        /// It is this call's turn, and what is stored by then is given; the fence is handed back.
        case granted([UInt8], fence: Int64)
        /// There is nothing left to renew.
        case gone
    }

    /// How often it is looked whether another call is done, and for how many seconds.
    private static let pause = Duration.milliseconds(100)
    private static let patience = 30

    private let begin: @Sendable () async throws -> Turn
    private let end: @Sendable (_ fence: Int64, _ renewed: [UInt8]?) async throws -> Bool

    /// - Parameters:
    ///   - begin: asks for the turn.
    ///   - end: ends it and stores the new credential, nil where none came of it; answers false where the turn was
    ///     another's by then.
    public init(
        begin: @escaping @Sendable () async throws -> Turn,
        end: @escaping @Sendable (_ fence: Int64, _ renewed: [UInt8]?) async throws -> Bool
    ) {
        self.begin = begin
        self.end = end
    }

    /// As ``Access/renew`` promises.
    public func callAsFunction(
        _ ask: @escaping @Sendable (_ stored: [UInt8]) async throws(ConnectorError) -> [UInt8]
    ) async throws(ConnectorError) -> [UInt8] {
        let deadline = ContinuousClock.now + .seconds(Self.patience)
        while ContinuousClock.now < deadline, !Task.isCancelled {
            switch try await storing(begin) {
            case .renewed(let credential): return credential
            case .granted(let stored, let fence):
                return try await unbroken { () async throws(ConnectorError) in try await renew(stored, fence, ask) }
            case .gone: throw .relinkRequired
            case .busy: try? await Task.sleep(for: Self.pause)
            }
        }
        throw .superseded
    }

    private func renew(
        _ stored: [UInt8],
        _ fence: Int64,
        _ ask: @Sendable (_ stored: [UInt8]) async throws(ConnectorError) -> [UInt8]
    ) async throws(ConnectorError) -> [UInt8] {
        let renewed: [UInt8]
        do {
            renewed = try await ask(stored)
        } catch {
            _ = try await storing { try await end(fence, nil) }
            throw error
        }
        guard try await storing({ try await end(fence, renewed) }) else { throw .superseded }
        return renewed
    }

    /// Where the credential is kept is out of reach: the call is begun anew later.
    private func storing<T>(_ body: () async throws -> T) async throws(ConnectorError) -> T {
        do { return try await body() } catch { throw .superseded }
    }
}

/// Does what must come to its end once it has begun, whether or not the caller is cancelled meanwhile.
public func unbroken<T: Sendable>(
    _ body: @escaping @Sendable () async throws(ConnectorError) -> T
) async throws(ConnectorError) -> T {
    let task = Task { () async -> Result<T, ConnectorError> in
        do throws(ConnectorError) { return .success(try await body()) } catch { return .failure(error) }
    }
    return try await task.value.get()
}
