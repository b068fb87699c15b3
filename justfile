# The commands that one needs, for https://just.systems. Each stands here as it can be typed without it.

# What there is.
default:
    @just --list --unsorted

# The gateway, as a release build, with its demonstration.
run *arguments:
    cargo run --release -- {{arguments}}

# Everything that needs no other tool.
test:
    cargo test

# The unit tests, some seconds.
unit filter="":
    cargo test --lib {{filter}}

# The integration tests with this word in their name.
it filter="":
    cargo test --test it {{filter}}

# What a change is checked for before its tests.
check:
    cargo fmt --all --check
    cargo clippy --locked --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps

# Everything that must hold before a change goes in. As root, on Debian, it installs what it needs.
ci:
    .ci/run

# One seed of the simulation again.
seed n:
    SLUICEGATE_SEED={{n}} cargo test --profile simulation --lib simulation -- --nocapture

# The book, into target/book, and its links and tutorial.
book:
    mdbook build docs
    cargo test --test it book

# Every figure of docs/benchmarks.md against its target, in 5 minutes.
table:
    cargo build --release --workspace
    target/release/loadtest table

# This build against another one: fails if it is more than 5 % worse.
ab other:
    cargo build --release --workspace
    target/release/loadtest ab --old {{other}}

# The instructions of the core, which no neighbour disturbs. Needs valgrind and gungraun-runner.
instructions:
    cargo bench --bench wheel_instructions --bench hub_instructions

# Licences, advisories and sources of what is used. Needs cargo-deny.
deny:
    cargo deny check

# Whether it builds with the oldest Rust that is promised.
msrv:
    cargo +$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -1) check --locked --workspace --all-targets

# A tarball and a Debian package, into target/dist.
release:
    deploy/release
