/// Signed tokens, as banks and their clients prove to each other who says what: JWS in its compact form, by RS256,
/// PS256 or ES256.
///
/// A key decides by its kind which algorithms it takes, so that a token cannot choose a weaker one; `none` and shared
/// secrets are not among them. What is returned was signed; whether it is meant for us, and still good, the caller
/// reads out of its claims.

internal import Crypto
internal import CryptoExtras
internal import FoundationEssentials

public enum JSONWebToken {
    private struct Header: Codable {
        var alg: String
        var kid: String?
        var typ: String?
    }

    /// What a reader must understand, or refuse the token (RFC 7515, 4.1.11). Nothing of it is understood here.
    private struct Demands: Decodable {
        let areThere: Bool

        private enum CodingKeys: String, CodingKey { case crit }

        init(from decoder: any Decoder) throws {
            areThere = try decoder.container(keyedBy: CodingKeys.self).contains(.crit)
        }
    }

    /// - Returns: the claims, as the JSON that was signed.
    /// - Throws: ``VaultError/badSignature`` for what none of the keys signed, and for a token that demands more of its
    ///   reader.
    public static func claims(of token: String, signedBy keys: JSONWebKeys) throws(VaultError) -> [UInt8] {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let head = Secret.bytes(base64URL: parts[0]),
            let claims = Secret.bytes(base64URL: parts[1]), let signature = Secret.bytes(base64URL: parts[2]),
            let header = try? JSONDecoder().decode(Header.self, from: Data(head)),
            let demands = try? JSONDecoder().decode(Demands.self, from: Data(head)), !demands.areThere
        else { throw .badSignature }
        let signed = Data("\(parts[0]).\(parts[1])".utf8)
        for key in keys.keys where header.kid == nil || key.id == nil || key.id == header.kid {
            if key.verifies(signature, of: signed, by: header.alg) { return claims }
        }
        throw .badSignature
    }

    /// - Parameters:
    ///   - claims: JSON.
    ///   - taken: the algorithms that the reader takes, nil where it does not say.
    public static func sign(
        _ claims: [UInt8],
        with key: SigningKey,
        taken: [String]? = nil
    ) throws(VaultError) -> String {
        let algorithm = key.algorithm(of: taken)
        let header = Header(alg: algorithm.rawValue, kid: key.id, typ: "JWT")
        guard let head = try? JSONEncoder().encode(header) else { throw .cannotSign }
        let signed = "\(Secret.base64URL([UInt8](head))).\(Secret.base64URL(claims))"
        return "\(signed).\(Secret.base64URL(try key.signature(of: Data(signed.utf8), by: algorithm)))"
    }
}

/// Public keys, as an issuer publishes them (JWKS). Keys of other kinds are left out, as they sign nothing for us.
public struct JSONWebKeys: Sendable {
    struct Key: Sendable {
        enum Kind: Sendable {
            case rsa(_RSA.Signing.PublicKey)
            case p256(P256.Signing.PublicKey)
        }

        let id: String?
        let kind: Kind

        func verifies(_ signature: [UInt8], of message: Data, by algorithm: String) -> Bool {
            switch (kind, algorithm) {
            case (.rsa(let key), "RS256"):
                key.isValidSignature(
                    .init(rawRepresentation: signature),
                    for: message,
                    padding: .insecurePKCS1v1_5
                )
            case (.rsa(let key), "PS256"):
                key.isValidSignature(.init(rawRepresentation: signature), for: message, padding: .PSS)
            case (.p256(let key), "ES256"):
                (try? P256.Signing.ECDSASignature(rawRepresentation: signature)).map {
                    key.isValidSignature($0, for: message)
                } ?? false
            default: false
            }
        }
    }

    private struct Document: Decodable {
        struct Key: Decodable {
            var kty: String
            var use: String?
            var kid: String?
            var crv: String?
            var n: String?
            var e: String?
            var x: String?
            var y: String?
        }

        var keys: [Key]
    }

    let keys: [Key]

    /// - Throws: ``VaultError/badKey`` for what is no set of keys.
    public init(json: [UInt8]) throws(VaultError) {
        guard let document = try? JSONDecoder().decode(Document.self, from: Data(json)) else { throw .badKey }
        keys = document.keys.compactMap { key in
            guard key.use ?? "sig" == "sig", let kind = Self.kind(key) else { return nil }
            return Key(id: key.kid, kind: kind)
        }
    }

    private static func kind(_ key: Document.Key) -> Key.Kind? {
        func bytes(_ text: String?) -> [UInt8]? { text.flatMap { Secret.bytes(base64URL: $0) } }
        switch key.kty {
        case "RSA":
            // Fewer than 2048 bits are no longer safe, and swift-crypto refuses them.
            guard let n = bytes(key.n), let e = bytes(key.e) else { return nil }
            return (try? _RSA.Signing.PublicKey(n: n, e: e)).map(Key.Kind.rsa)
        case "EC":
            guard key.crv == "P-256", let x = bytes(key.x), let y = bytes(key.y) else { return nil }
            return (try? P256.Signing.PublicKey(rawRepresentation: x + y)).map(Key.Kind.p256)
        default: return nil
        }
    }
}

/// A private key that signs tokens.
public struct SigningKey: Sendable {
    private enum Kind: Sendable {
        case rsa(_RSA.Signing.PrivateKey)
        case p256(P256.Signing.PrivateKey)
    }

    private let kind: Kind
    let id: String?

    fileprivate enum Algorithm: String {
        case es256 = "ES256"
        case ps256 = "PS256"
        case rs256 = "RS256"
    }

    /// The best that the key can and the reader takes; a reader that takes none of them will say so.
    fileprivate func algorithm(of taken: [String]?) -> Algorithm {
        switch kind {
        case .p256: .es256
        case .rsa: taken?.contains("RS256") == true && taken?.contains("PS256") == false ? .rs256 : .ps256
        }
    }

    /// A new key on the curve P-256.
    public init() {
        let key = P256.Signing.PrivateKey()
        kind = .p256(key)
        id = Secret.base64URL(Array(Secret.digest([UInt8](key.publicKey.rawRepresentation)).prefix(12)))
    }

    /// - Parameters:
    ///   - pem: a key on the curve P-256, or one of RSA with at least 2048 bits.
    ///   - id: its name in the key set that the other side knows.
    /// - Throws: ``VaultError/badKey``
    public init(pem: String, id: String?) throws(VaultError) {
        if let key = try? P256.Signing.PrivateKey(pemRepresentation: pem) {
            kind = .p256(key)
        } else if let key = try? _RSA.Signing.PrivateKey(pemRepresentation: pem) {
            kind = .rsa(key)
        } else {
            throw .badKey
        }
        self.id = id
    }

    /// The public half as a set of keys, in JSON: what the other side is given.
    public var publicKeys: String {
        var members: [(String, String)]
        switch kind {
        case .p256(let key):
            let point = [UInt8](key.publicKey.rawRepresentation)
            members = [
                ("alg", "ES256"), ("crv", "P-256"), ("kty", "EC"), ("use", "sig"),
                ("x", Secret.base64URL(Array(point.prefix(32)))), ("y", Secret.base64URL(Array(point.suffix(32)))),
            ]
        case .rsa(let key):
            guard let primitives = try? key.publicKey.getKeyPrimitives() else { return "{\"keys\":[]}" }
            members = [
                ("e", Secret.base64URL([UInt8](primitives.publicExponent))), ("kty", "RSA"),
                ("n", Secret.base64URL([UInt8](primitives.modulus))), ("use", "sig"),
            ]
        }
        if let id { members.append(("kid", id)) }
        let text = members.map { "\"\($0.0)\":\"\($0.1)\"" }.joined(separator: ",")
        return "{\"keys\":[{\(text)}]}"
    }

    fileprivate func signature(of message: Data, by algorithm: Algorithm) throws(VaultError) -> [UInt8] {
        do {
            switch kind {
            case .p256(let key): return [UInt8](try key.signature(for: message).rawRepresentation)
            case .rsa(let key):
                let padding = algorithm == .rs256 ? _RSA.Signing.Padding.insecurePKCS1v1_5 : .PSS
                return [UInt8](try key.signature(for: message, padding: padding).rawRepresentation)
            }
        } catch {
            throw .cannotSign
        }
    }
}
