/// Which versions of the API are known, and what differs between them.

import Testing
import Wire

@Suite("A version of the API")
struct APIVersionTests {
    @Test(
        "is known by its day, and by its code name from acacia on",
        arguments: [
            "2011-01-01", "2020-08-27", "2022-08-01", "2024-06-20", "2024-09-30.acacia", "2025-03-01.dashboard",
            "2025-03-31.basil", "2025-09-30.clover", "2026-03-25.dahlia", "2026-07-29.dahlia", "2026-08-26.dahlia",
            "2026-09-30.endive", "2026-10-28.endive", "2026-09-30.preview",
        ]
    )
    func known(header: String) throws {
        #expect(try APIVersion(header: header).description == header)
    }

    @Test("of a later month of a known code name is taken")
    func laterMonth() throws {
        let version = try APIVersion(header: "2027-01-27.endive")
        #expect(version.name == "endive")
        #expect(version.showsCountry && !version.showsCountries)
    }

    @Test(
        "that is not known is refused by its whole header",
        arguments: [
            "", ";", "2024-06-21", "2026-09-30", "2026-09-30.", "2026-09-30.fig", "2026-08-26.endive",
            "2024-06-20.acacia",
            "20240620", "2024-6-20", "2024/06/20", "latest", "2026-09-30.endive.x", "2026-09-30.Endive", ".endive",
            "２０24-06-20",
        ]
    )
    func unknown(header: String) {
        #expect(throws: StripeError(message: "Invalid Stripe API version: \(header)")) {
            try APIVersion(header: header)
        }
    }

    @Test("that is not known is not repeated at any length")
    func longHeader() {
        let header = String(repeating: "9", count: 5000)
        #expect(throws: StripeError(message: "Invalid Stripe API version: \(header.prefix(100))")) {
            try APIVersion(header: header)
        }
    }

    @Test(
        "is read without the flags behind it and without spaces",
        arguments: [
            "2020-08-27; financial_connections_client_api_beta=v1", "2020-08-27;a=v1;b=v2", " 2020-08-27 ",
            "2020-08-27 ;",
        ]
    )
    func flags(header: String) throws {
        #expect(try APIVersion(header: header).description == "2020-08-27")
    }

    @Test("is older than a later one")
    func order() throws {
        let headers = [
            "2011-01-01", "2024-06-20", "2024-09-30.acacia", "2025-03-31.basil", "2026-08-26.dahlia",
            "2026-10-28.endive",
        ]
        let versions = try headers.map { try APIVersion(header: $0) }
        for (older, newer) in zip(versions, versions.dropFirst()) {
            #expect(older < newer)
            #expect(!(newer < older))
            #expect(older != newer)
        }
        #expect(versions.shuffled().sorted() == versions)
    }

    @Test("without a header shows both shapes of filters")
    func standard() {
        #expect(APIVersion.standard.description == "2026-08-26.dahlia")
        #expect(APIVersion.standard.showsCountries && APIVersion.standard.showsCountry)
    }

    /// In order: filters.countries is asked and shown, filters.country is shown, limits and their like exist.
    @Test(
        "has one of three shapes of filters, and the configuration of a session since 2026-07-29",
        arguments: [
            ("2020-08-27", true, false, false), ("2026-06-24.dahlia", true, false, false),
            ("2026-07-29.dahlia", true, false, true), ("2026-08-26.dahlia", true, true, true),
            ("2026-09-30.endive", false, true, true), ("2026-10-28.endive", false, true, true),
        ]
    )
    func shapes(header: String, countries: Bool, country: Bool, configuration: Bool) throws {
        let version = try APIVersion(header: header)
        #expect(version.takesCountries == countries)
        #expect(version.showsCountries == countries)
        #expect(version.showsCountry == country)
        #expect(version.showsDefaultFilters == !countries)
        #expect(version.hasSessionConfiguration == configuration)
    }
}
