/// The signature of a webhook against a vector that another implementation made.

import Testing
import Vault

@Suite("A signature")
struct SignatureTests {
    @Test("is the HMAC-SHA256 of the time and the body, one for each secret")
    func header() {
        let body = Array(#"{"id": "evt_1"}"#.utf8)
        // From Python: hmac.new(b"whsec_test", b'1790000000.{"id": "evt_1"}', "sha256").hexdigest()
        let first = "b36f4c72cd593b9c0b21f15a9eadcc506bc56028839405b372888a01e8aa7aa1"
        let second = "6976506369811ba4a5a423b5de78fb6099948ac23af949633943197124fc9c14"
        #expect(Signature.header(of: body, at: 1_790_000_000, secrets: ["whsec_test"]) == "t=1790000000,v1=\(first)")
        #expect(
            Signature.header(of: body, at: 1_790_000_000, secrets: ["whsec_test", "whsec_old"])
                == "t=1790000000,v1=\(first),v1=\(second)"
        )
    }
}
