/// Random secrets, their digests, and base64 that can stand in a URL.

import Testing
import Vault

private func hex(_ bytes: [UInt8]) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}

@Suite("A secret")
struct SecretTests {
    @Test("is as long as asked, of letters and digits, and new each time")
    func make() {
        var random = SystemRandomNumberGenerator()
        let secrets = (0..<200).map { _ in Secret.make(prefix: "sk_test_", length: 32, using: &random) }
        #expect(Set(secrets).count == 200)
        for secret in secrets {
            #expect(secret.hasPrefix("sk_test_"))
            #expect(secret.utf8.count == 40)
        }
        let letters = Set(secrets.joined().dropFirst(8).filter { $0 != "_" })
        #expect(letters.count == 62)
        #expect(letters.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber) })
    }

    @Test("is looked up by its SHA-256")
    func digest() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        #expect(hex(Secret.digest("abc")) == abc)
        #expect(hex(Secret.digest(Array("abc".utf8))) == abc)
        #expect(hex(Secret.digest("")) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(Secret.digest("é") == Secret.digest(Array("é".utf8)))
    }

    @Test("is made of numbers of which none is handed out twice, however many ask at once")
    func chance() async {
        let all = await withTaskGroup(of: [UInt64].self) { group in
            for _ in 0..<8 {
                group.addTask {
                    var chance = SystemChance()
                    return (0..<1000).map { _ in chance.next() }
                }
            }
            return await group.reduce(into: []) { $0 += $1 }
        }
        #expect(Set(all).count == 8000)
    }
}

@Suite("Base64 for URLs")
struct Base64URLTests {
    @Test("is read back as it was written, at every length and with every byte")
    func roundTrip() throws {
        for length in 0..<70 {
            let bytes = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 251) }
            let text = Secret.base64URL(bytes)
            #expect(!text.contains { $0 == "+" || $0 == "/" || $0 == "=" })
            #expect(Secret.bytes(base64URL: text) == bytes)
        }
        #expect(Secret.bytes(base64URL: Secret.base64URL(Array(0...255))) == Array(0...255))
    }

    @Test("uses - and _", arguments: [([0xFB, 0xFF] as [UInt8], "-_8"), ([0xFF, 0xFF, 0xFF], "____"), ([0], "AA")])
    func alphabet(bytes: [UInt8], text: String) {
        #expect(Secret.base64URL(bytes) == text)
        #expect(Secret.bytes(base64URL: text) == bytes)
    }

    @Test("is nothing else", arguments: ["A", "AAAAA", "A A", "é", "A.AA", "%%%%", "AA\n"])
    func refused(text: String) {
        #expect(Secret.bytes(base64URL: text) == nil)
    }
}
