/// Where a person may be sent, and where never.

import Testing
import Wire

@Suite("A destination")
struct URLSchemeTests {
    @Test(
        "is safe where it leads to a site or an app",
        arguments: [
            "https://shop.example", "https://shop.example/back?a=b#c", "http://localhost:3000/",
            "HTTPS://SHOP.EXAMPLE/",
            "shop://return", "com.example.shop://done", "stripe-auth://link/1", "my+app-1.0:back",
            "https://[::1]:8080/",
            "https://shop.example/a@b", "https://shop.example?next=user@host",
        ]
    )
    func safe(url: String) {
        #expect(URLScheme.isSafeDestination(url))
    }

    @Test(
        "is not safe where it runs or reads something, or pretends",
        arguments: [
            "javascript:alert(1)", "JavaScript:alert(1)", "vbscript:x()", "data:text/html,x", "DATA:text/html;base64,x",
            "file:///etc/passwd", "blob:https://shop.example/1", "filesystem:https://shop.example/1", "about:blank",
            "view-source:https://shop.example", "ws://shop.example", "wss://shop.example", " javascript:alert(1)",
            "java\tscript:alert(1)", "java\nscript:alert(1)", "\u{1}javascript:alert(1)", "https://user@shop.example",
            "https://shop.example:443@evil.example/", "https:///path", "https://", "https://?x", "https://#x",
            "https://:443/", "https:shop.example", "https:/shop.example", "http:\\\\shop.example", "https://shop\\evil",
            "//shop.example", "/path", "shop.example", "", ":", "://x", "1shop://x", "sh op://x", "s_hop://x", "shop:",
            "https://shop.example/a b", "https://shop.example/é", "https://shop.example/\u{7F}", "шоп://x",
        ]
    )
    func unsafe(url: String) {
        #expect(!URLScheme.isSafeDestination(url))
    }
}
