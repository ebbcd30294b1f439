/// Signed tokens: who signed counts, and by which algorithm is the key's to say.

import Crypto
import CryptoExtras
import Foundation
import Testing
import Vault

@Suite("Signed tokens")
struct JSONWebTokenTests {
    private let claims = Array(#"{"iss":"https://bank.example","nonce":"n"}"#.utf8)

    private func keys(_ key: SigningKey) throws -> JSONWebKeys {
        try JSONWebKeys(json: Array(key.publicKeys.utf8))
    }

    private func token(header: String, signature: [UInt8]) -> String {
        [Array(header.utf8), claims, signature].map(Secret.base64URL).joined(separator: ".")
    }

    @Test("are read by the key set of who signed, for every kind of key")
    func roundTrip() throws {
        let rsa = try _RSA.Signing.PrivateKey(keySize: .bits2048)
        let pair = [
            SigningKey(), try SigningKey(pem: P256.Signing.PrivateKey().pemRepresentation, id: "k1"),
            try SigningKey(pem: rsa.pemRepresentation, id: nil),
        ]
        for key in pair {
            let token = try JSONWebToken.sign(claims, with: key)
            #expect(try JSONWebToken.claims(of: token, signedBy: keys(key)) == claims)
            #expect(throws: VaultError.badSignature) {
                try JSONWebToken.claims(of: token, signedBy: keys(SigningKey()))
            }
        }
    }

    @Test("are taken by RS256 too, as most banks sign")
    func rs256() throws {
        let rsa = try _RSA.Signing.PrivateKey(keySize: .bits2048)
        let key = try SigningKey(pem: rsa.pemRepresentation, id: nil)
        let signed = [Array(#"{"alg":"RS256"}"#.utf8), claims].map(Secret.base64URL).joined(separator: ".")
        let signature = try rsa.signature(for: Data(signed.utf8), padding: .insecurePKCS1v1_5)
        let token = "\(signed).\(Secret.base64URL([UInt8](signature.rawRepresentation)))"
        #expect(try JSONWebToken.claims(of: token, signedBy: keys(key)) == claims)
    }

    @Test("are refused where they demand more of their reader than to check who signed")
    func demands() throws {
        let rsa = try _RSA.Signing.PrivateKey(keySize: .bits2048)
        let key = try SigningKey(pem: rsa.pemRepresentation, id: nil)
        for demand in [#"["b64"]"#, "[]", "null", "7"] {
            let head = #"{"alg":"RS256","b64":false,"crit":\#(demand)}"#
            let signed = [Array(head.utf8), claims].map(Secret.base64URL).joined(separator: ".")
            let signature = try rsa.signature(for: Data(signed.utf8), padding: .insecurePKCS1v1_5)
            let token = "\(signed).\(Secret.base64URL([UInt8](signature.rawRepresentation)))"
            #expect(throws: VaultError.badSignature) { try JSONWebToken.claims(of: token, signedBy: keys(key)) }
        }
    }

    @Test("are refused when any letter was changed")
    func tampering() throws {
        let key = SigningKey()
        let token = Array(try JSONWebToken.sign(claims, with: key).utf8)
        for index in stride(from: 0, to: token.count, by: 7) {
            var changed = token
            changed[index] = changed[index] == 65 ? 66 : 65
            guard changed != token else { continue }
            #expect(throws: VaultError.badSignature, "letter \(index)") {
                try JSONWebToken.claims(of: String(decoding: changed, as: UTF8.self), signedBy: keys(key))
            }
        }
    }

    @Test("cannot choose an algorithm that their key does not have")
    func algorithms() throws {
        let key = SigningKey()
        let secret = HMAC<SHA256>.authenticationCode(for: Data(), using: SymmetricKey(data: Data(key.publicKeys.utf8)))
        for header in [#"{"alg":"none"}"#, #"{"alg":"HS256"}"#, #"{"alg":"RS256"}"#, #"{"alg":"ES384"}"#, "{}", ""] {
            for signature in [[], Array(secret)] as [[UInt8]] {
                #expect(throws: VaultError.badSignature, "\(header)") {
                    try JSONWebToken.claims(of: token(header: header, signature: signature), signedBy: keys(key))
                }
            }
        }
        for text in ["", ".", "..", "a.b", "a.b.c.d"] {
            #expect(throws: VaultError.badSignature) { try JSONWebToken.claims(of: text, signedBy: keys(key)) }
        }
    }

    @Test("are matched to the key that they name, and keys of other kinds are passed over")
    func names() throws {
        let (one, two) = (
            try SigningKey(pem: P256.Signing.PrivateKey().pemRepresentation, id: "one"),
            try SigningKey(pem: P256.Signing.PrivateKey().pemRepresentation, id: "two")
        )
        func inner(_ key: SigningKey) -> String { String(key.publicKeys.dropFirst(9).dropLast(2)) }
        let others =
            #"{"kty":"OKP","crv":"Ed25519","x":"AA"},{"kty":"EC","crv":"P-384"},{"kty":"RSA","n":"AQ","e":"AQAB"}"#
        let both = try JSONWebKeys(json: Array(#"{"keys":[\#(others),\#(inner(one)),\#(inner(two))]}"#.utf8))
        for key in [one, two] {
            #expect(try JSONWebToken.claims(of: JSONWebToken.sign(claims, with: key), signedBy: both) == claims)
        }
        let encryption = inner(one).replacing(#""use":"sig""#, with: #""use":"enc""#)
        let wrongUse = try JSONWebKeys(json: Array(#"{"keys":[\#(encryption)]}"#.utf8))
        #expect(throws: VaultError.badSignature) {
            try JSONWebToken.claims(of: JSONWebToken.sign(claims, with: one), signedBy: wrongUse)
        }
        #expect(throws: VaultError.badKey) { try JSONWebKeys(json: Array("[]".utf8)) }
        #expect(throws: VaultError.badKey) { try SigningKey(pem: "no key", id: nil) }
    }
}
