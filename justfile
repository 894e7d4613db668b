# `just` lists what there is. Every recipe is a plain command, so that nothing needs `just`.

_list:
    @just --list

# What has to pass before a change is merged; the same as `.ci/run`.
verify *args:
    scripts/verify {{ args }}

# Format the code.
fmt:
    cargo fmt --all

# Lints of all crates, tests and examples; a warning is an error.
lint:
    cargo clippy --workspace --all-targets --all-features -- -D warnings

# The documentation, as it will be published.
doc *args:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps {{ args }}

# All tests that need nothing but this repository.
test *args:
    cargo test {{ args }}

# The tests on a real Apache Kafka and PostgreSQL, which it starts and removes; `just test-real -p saga-kafka -- NAME` runs some.
test-real *args:
    scripts/test-real {{ args }}

# A real Apache Kafka on 127.0.0.1: `just kafka start`, `just kafka --help`.
kafka *args:
    scripts/kafka {{ args }}

# A real PostgreSQL on 127.0.0.1: `just postgres start`, `just postgres --help`.
postgres *args:
    scripts/postgres {{ args }}

# A real schema registry on 127.0.0.1: `just registry start`, `just registry --help`.
registry *args:
    scripts/registry {{ args }}

# compose.yaml and the Dockerfile, tried without Docker.
containers *args:
    scripts/containers {{ args }}

# What the services of the example answer, held against what they say of it.
openapi *args:
    scripts/openapi {{ args }}

# Each alert fired on purpose, and each query of the dashboards asked.
watch *args:
    scripts/watch {{ args }}

# The crates of strangers, each built and tested by itself; `just stranger --msrv` with the oldest Rust.
stranger *args:
    scripts/stranger {{ args }}

# What the registry would get; `just package --release` before a release (docs/releasing.md).
package *args:
    scripts/package {{ args }}

# The architecture rules alone.
architecture:
    cargo test -p sagas-tests --test architecture

# Licences, advisories and sources of the dependencies; needs cargo-deny.
deny:
    cargo deny check

# The example system: five services in one process.
run *args:
    cargo run --example ecommerce -- {{ args }}

# Orders per second and their latency, in release.
bench *args:
    cargo run --release --example ecommerce -- bench {{ args }}

# What the framework costs against loops written by hand, on the Kafka and the PostgreSQL that run.
bench-real *args:
    cargo run --release -p sagas-benches -- {{ args }}
