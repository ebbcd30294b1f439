/// Sealed values open for what they were sealed for and for nothing else, across the rotation of keys.

import Testing
import Vault

/// A key of one repeated byte: A is 0x41, B is 0x42.
private let keyA = "7:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
private let keyB = "9:QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="
private let secret = Array("fcsess_client_secret_canary".utf8)

@Suite("A key ring")
struct KeyRingTests {
    private let ring: KeyRing

    init() throws { ring = try KeyRing(text: keyA) }

    @Test("opens what it sealed, for every purpose", arguments: KeyRing.Purpose.allCases)
    func open(purpose: KeyRing.Purpose) throws {
        let sealed = try ring.seal(secret, for: purpose, owner: "row_1")
        #expect(try ring.open(sealed, for: purpose, owner: "row_1") == secret)
    }

    @Test("seals secrets of any length", arguments: [0, 1, 16, 4096])
    func lengths(length: Int) throws {
        let secret = [UInt8](repeating: 7, count: length)
        let sealed = try ring.seal(secret, for: .signInNote, owner: "")
        #expect(try ring.open(sealed, for: .signInNote, owner: "") == secret)
    }

    @Test("shows nothing of the secret, and never the same bytes twice")
    func hidden() throws {
        let one = try ring.seal(secret, for: .clientSecret, owner: "row_1")
        let two = try ring.seal(secret, for: .clientSecret, owner: "row_1")
        #expect(one != two)
        #expect(!String(decoding: one, as: UTF8.self).contains("canary"))
    }

    @Test("opens for no other purpose")
    func wrongPurpose() throws {
        for purpose in KeyRing.Purpose.allCases {
            let sealed = try ring.seal(secret, for: purpose, owner: "row_1")
            for other in KeyRing.Purpose.allCases where other != purpose {
                #expect(throws: VaultError.cannotOpen) { try ring.open(sealed, for: other, owner: "row_1") }
            }
        }
    }

    @Test("opens for no other owner", arguments: ["row_2", "", "row_1 ", "ROW_1"])
    func wrongOwner(owner: String) throws {
        let sealed = try ring.seal(secret, for: .bankCredential, owner: "row_1")
        #expect(throws: VaultError.cannotOpen) { try ring.open(sealed, for: .bankCredential, owner: owner) }
    }

    @Test("opens nothing of which a byte was changed, wherever it stands")
    func flipped() throws {
        let sealed = try ring.seal(secret, for: .clientSecret, owner: "row_1")
        for index in sealed.indices {
            for bit in [0x01, 0x80] as [UInt8] {
                var changed = sealed
                changed[index] ^= bit
                #expect(throws: VaultError.cannotOpen, "byte \(index)") {
                    try ring.open(changed, for: .clientSecret, owner: "row_1")
                }
            }
        }
    }

    @Test("opens nothing that was cut short or made longer")
    func cut() throws {
        let sealed = try ring.seal(secret, for: .clientSecret, owner: "row_1")
        for length in 0..<sealed.count {
            #expect(throws: VaultError.cannotOpen) {
                try ring.open(Array(sealed.prefix(length)), for: .clientSecret, owner: "row_1")
            }
        }
        #expect(throws: VaultError.cannotOpen) { try ring.open(sealed + [0], for: .clientSecret, owner: "row_1") }
    }

    // MARK: Rotation

    @Test("with a new key in front opens what the old one sealed, and seals with the new one")
    func rotation() throws {
        let old = try ring.seal(secret, for: .clientSecret, owner: "row_1")
        let both = try KeyRing(text: "\(keyB)\n\(keyA)\n")
        let onlyB = try KeyRing(text: keyB)
        #expect(try both.open(old, for: .clientSecret, owner: "row_1") == secret)
        let new = try both.seal(secret, for: .clientSecret, owner: "row_1")
        #expect(try onlyB.open(new, for: .clientSecret, owner: "row_1") == secret)
        #expect(throws: VaultError.cannotOpen) { try ring.open(new, for: .clientSecret, owner: "row_1") }
        #expect(throws: VaultError.cannotOpen) { try onlyB.open(old, for: .clientSecret, owner: "row_1") }
    }

    @Test("tells a sealed value's key by its number, so another key under that number opens nothing")
    func sameNumber() throws {
        let other = try KeyRing(text: "7:" + keyB.dropFirst(2))
        let sealed = try ring.seal(secret, for: .clientSecret, owner: "row_1")
        #expect(throws: VaultError.cannotOpen) { try other.open(sealed, for: .clientSecret, owner: "row_1") }
    }

    @Test("marks equal values equally, also after a new key was added, and others otherwise")
    func fingerprint() throws {
        let mark = ring.fingerprint("110000000|000123456789")
        #expect(mark.count == 16)
        #expect(mark.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber) })
        #expect(ring.fingerprint("110000000|000123456789") == mark)
        #expect(ring.fingerprint("110000000|000123456780") != mark)
        #expect(try KeyRing(text: "\(keyB)\n\(keyA)").fingerprint("110000000|000123456789") == mark)
        #expect(try KeyRing(text: keyB).fingerprint("110000000|000123456789") != mark)
    }

    // MARK: Texts

    @Test("is made of one key a line, without comments and empty lines")
    func text() throws {
        let written = try KeyRing(text: "# newest first\n\n\(keyB)\r\n\n# old\n\(keyA)\n")
        let sealed = try ring.seal(secret, for: .clientSecret, owner: "row_1")
        #expect(try written.open(sealed, for: .clientSecret, owner: "row_1") == secret)
    }

    @Test("that is generated is a ring, a new one each time")
    func generated() throws {
        let one = KeyRing.generate()
        #expect(one != KeyRing.generate())
        let made = try KeyRing(text: one)
        #expect(try made.open(made.seal(secret, for: .flowToken, owner: "x"), for: .flowToken, owner: "x") == secret)
    }

    @Test(
        "is refused where a line is no key",
        arguments: [
            "", "\n\n", "# none\n", "7", "7:", "x:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
            "-1:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
            "4294967296:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
            "7:QUFB", "7:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB", "7:not base64 at all, but of some length!!!!!!",
            "\(keyA)\n\(keyA)", "\(keyA)\n7:QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=", "\(keyA)\nnonsense",
        ]
    )
    func badText(text: String) {
        #expect(throws: VaultError.badKeyRing) { try KeyRing(text: text) }
    }
}
