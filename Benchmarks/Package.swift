// swift-tools-version:6.2
import PackageDescription

/// What `script/bench` measures Linkspan against. A package of its own, so that the server's build knows nothing of it.
let package = Package(
    name: "linkspan-benchmarks",
    platforms: [.macOS(.v15)],
    dependencies: [
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: [])
    ],
    targets: [
        .executableTarget(
            name: "bare",
            dependencies: [.product(name: "Hummingbird", package: "hummingbird")],
            path: "Sources/Bare",
            swiftSettings: [.swiftLanguageMode(.v6), .treatAllWarnings(as: .error)]
        )
    ]
)
