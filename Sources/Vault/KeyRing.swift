/// Seals what must not be readable at rest: client secrets, bank credentials, the notes of a sign-in.
///
/// AES-256-GCM, with a key derived from the master key for each purpose. The sealed bytes name their format and their
/// key, and they open only for the purpose and the row that they were sealed for, so that a value copied to another row
/// is worth nothing. The first key of the ring seals, all of them open: a new key is added in front, the old one stays
/// until nothing is sealed with it.

internal import Crypto
internal import FoundationEssentials

public struct KeyRing: Sendable {
    /// What a value is sealed for. It is part of what is authenticated: **never rename one**.
    public enum Purpose: String, Sendable, CaseIterable {
        case bankCredential = "bank-credential"
        case idempotentAnswer = "idempotent-answer"
        case ringCheck = "ring-check"
        case clientSecret = "client-secret"
        case flowToken = "flow-token"
        case signInNote = "sign-in-note"
        case webhookSecret = "webhook-secret"
        case signInAddress = "sign-in-address"
        case referenceBank = "reference-bank"
        case upload = "upload"
        case markKey = "mark-key"
    }

    private struct Key: Sendable {
        let id: UInt32
        /// What everything that it has sealed begins with.
        let header: [UInt8]
        let derived: [Purpose: SymmetricKey]
        let fingerprint: SymmetricKey
        let named: SymmetricKey
    }

    private static let format: UInt8 = 1
    private static let headerLength = 5
    private let keys: [Key]

    /// - Parameter text: one key a line, newest first, as `number:base64 of 32 bytes`; empty lines and lines that begin
    ///   with `#` are left out.
    public init(text: String) throws(VaultError) {
        var keys: [Key] = []
        for line in text.split(whereSeparator: \.isNewline) where !line.isEmpty && !line.hasPrefix("#") {
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, let id = UInt32(parts[0]), let bytes = Data(base64Encoded: String(parts[1])),
                bytes.count == 32
            else { throw .badKeyRing }
            let master = SymmetricKey(data: bytes)
            let derived = Purpose.allCases.map { ($0, Self.derive(master, "seal:\($0.rawValue)")) }
            keys.append(
                Key(
                    id: id,
                    header: withUnsafeBytes(of: id.bigEndian) { [Self.format] + $0 },
                    derived: Dictionary(uniqueKeysWithValues: derived),
                    fingerprint: Self.derive(master, "fingerprint"),
                    named: Self.derive(master, "named-secret")
                )
            )
        }
        guard !keys.isEmpty, Set(keys.map(\.id)).count == keys.count else { throw .badKeyRing }
        self.keys = keys
    }

    /// The text of a ring with one new key.
    public static func generate() -> String {
        let key = SymmetricKey(size: .bits256).withUnsafeBytes { Data($0) }
        // A random number, so that rings can be put together.
        return "\(UInt32.random(in: 1...UInt32.max)):\(key.base64EncodedString())\n"
    }

    private static func derive(_ master: SymmetricKey, _ info: String) -> SymmetricKey {
        HKDF<SHA256>.deriveKey(
            inputKeyMaterial: master,
            salt: Data("linkspan".utf8),
            info: Data(info.utf8),
            outputByteCount: 32
        )
    }

    /// The bytes with which everything begins that the newest key has sealed.
    public var newestMark: [UInt8] { keys.first?.header ?? [] }

    /// - Parameter owner: the id of the row that the sealed bytes are stored in.
    public func seal(_ secret: [UInt8], for purpose: Purpose, owner: String) throws(VaultError) -> [UInt8] {
        guard let key = keys.first, let derived = key.derived[purpose] else { throw .badKeyRing }
        do {
            let context = Self.context(key.header, purpose, owner)
            // 96 bits of chance, as the standard has it.
            let nonce = try AES.GCM.Nonce(data: SystemChance.bytes(count: 12))
            let box = try AES.GCM.seal(secret, using: derived, nonce: nonce, authenticating: context)
            guard let combined = box.combined else { throw VaultError.cannotSeal }
            var sealed: [UInt8] = []
            sealed.reserveCapacity(Self.headerLength + combined.count)
            sealed.append(contentsOf: key.header)
            combined.withUnsafeBytes { sealed.append(contentsOf: $0) }
            return sealed
        } catch {
            throw .cannotSeal
        }
    }

    /// - Throws: ``VaultError/cannotOpen`` for bytes that were changed, moved, or sealed for something else or with a
    ///   key that the ring does not have.
    public func open(_ sealed: [UInt8], for purpose: Purpose, owner: String) throws(VaultError) -> [UInt8] {
        guard sealed.count > Self.headerLength, sealed[0] == Self.format else { throw .cannotOpen }
        let header = Array(sealed.prefix(Self.headerLength))
        let id = header.dropFirst().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        guard let derived = keys.first(where: { $0.id == id })?.derived[purpose] else { throw .cannotOpen }
        do {
            let box = try AES.GCM.SealedBox(combined: sealed.dropFirst(Self.headerLength))
            return [UInt8](try AES.GCM.open(box, using: derived, authenticating: Self.context(header, purpose, owner)))
        } catch {
            throw .cannotOpen
        }
    }

    private static func context(_ header: [UInt8], _ purpose: Purpose, _ owner: String) -> [UInt8] {
        var context: [UInt8] = []
        context.reserveCapacity(header.count + purpose.rawValue.utf8.count + 1 + owner.utf8.count)
        context.append(contentsOf: header)
        context.append(contentsOf: purpose.rawValue.utf8)
        context.append(UInt8(ascii: "|"))
        context.append(contentsOf: owner.utf8)
        return context
    }

    /// A stable, irreversible mark of a value, the same for equal values: how two bank accounts are told to be one.
    /// - Returns: 16 letters and digits.
    public func fingerprint(_ value: String) -> String {
        guard let key = keys.last else { return "" }
        let mark = HMAC<SHA256>.authenticationCode(for: Data(value.utf8), using: key.fingerprint)
        return Secret.letters(mark.prefix(16))
    }

    /// A secret that is stored nowhere: the same for the same name, as long as the ring keeps its oldest key.
    /// - Returns: `prefix` and 32 letters and digits.
    public func secret(_ prefix: String, named name: String) -> String {
        guard let key = keys.last else { return prefix }
        return prefix + Secret.letters(HMAC<SHA256>.authenticationCode(for: Data(name.utf8), using: key.named))
    }
}

public enum VaultError: Error, Equatable {
    case badKeyRing
    case cannotSeal
    case cannotOpen
    case badKey
    case badSignature
    case cannotSign
}
