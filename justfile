# Everyday commands, for those who have `just`. Each is the plain command below it, and no document needs more.
# The build folder is .build (.cargo/config.toml): target/ holds the source of the Target service.

# List the commands.
default:
    @just --list --unsorted

# Format the code.
fmt:
    cargo fmt --all

# Fail on what the checks would find in seconds: dependencies, documents, formatting.
check:
    python3 .ci/dependencies.py
    python3 .ci/documents.py
    cargo fmt --all --check

# Run Clippy as the checks do.
lint:
    cargo clippy --workspace --all-targets --features full --locked -- -D warnings

# Run every test. No service is needed; tests say which servers they did not find (docs/testing.md).
test:
    cargo test --workspace --features full --locked

# Run the tests of one crate whose names contain FILTER: `just test-crate stack consent`.
test-crate crate filter="":
    cargo test --locked -p dispers-{{ crate }} {{ filter }}

# Build the documentation of the code, with warnings as errors.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --features full --no-deps --locked

# Run a whole network in one process: `just sandbox --epsilon 1`.
[positional-arguments]
@sandbox *arguments:
    cargo run -- sandbox "$@"

# Run one schedule or campaign of the simulation with its events, or 10,000 without a seed.
simulate seed="":
    {{ if seed == "" { "" } else { "SIMULATION_SEED=" + seed } }} cargo test -p dispers-core --lib ten_thousand -- --nocapture

# Measure a contribution and an envelope, or with `differences` the comparison of sets (BENCHMARKS.md).
bench name="contribution":
    cargo bench -p dispers-core --bench {{ name }}

# Measure a query over synthetic homes through real services (BENCHMARKS.md).
bench-query homes="100000":
    cargo run --release -- bench query --homes {{ homes }}

# Fuzz one decoder of fuzz/fuzz_targets for a minute. Needs cargo-fuzz; new inputs stay in the build folder.
fuzz target:
    mkdir -p .build/fuzz/found/{{ target }}
    RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=.build/fuzz cargo fuzz run --sanitizer none {{ target }} \
        .build/fuzz/found/{{ target }} fuzz/corpus/{{ target }} -- -max_total_time=60 -timeout=10

# Check dependencies against the advisories too. Needs cargo-deny.
deny:
    cargo deny --locked check

# Build the documents as a book, in .build/book. Needs mdbook.
book:
    mdbook build docs

# Run all checks on this checkout, as they run on a clean clone: half an hour on two cores.
ci:
    .ci/run
