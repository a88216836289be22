//! Checks the lesson of this crate: both sessions are the same except for `async` and `.await`, and the
//! reactor and the executor use no async runtime and no unsafe code.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Returns the session of `calc-blocking` and that of `calc-reactor`.
fn sessions() -> (String, String) {
    (file("src/bin/calc-blocking/session.rs"), file("src/bin/calc-reactor/session.rs"))
}

#[test]
fn the_sessions_differ_by_async_and_await() {
    let (blocking, reactor) = sessions();
    assert_ne!(blocking, reactor);
    assert_eq!(reactor.replace("async fn", "fn").replace(".await", ""), blocking);
}

#[test]
fn the_readme_shows_how_they_differ() {
    let (blocking, reactor) = sessions();
    assert_eq!(blocking.lines().count(), reactor.lines().count());
    let readme = file("README.md");
    for (before, after) in blocking.lines().zip(reactor.lines()).filter(|(a, b)| a != b) {
        assert!(readme.contains(&format!("\n-{before}\n")), "not in README.md: {before}");
        assert!(readme.contains(&format!("\n+{after}\n")), "not in README.md: {after}");
    }
}

#[test]
fn the_reactor_uses_no_runtime_and_no_unsafe_code() {
    let manifest = file("Cargo.toml");
    for runtime in ["tokio", "async-std", "smol", "futures"] {
        assert!(!manifest.contains(runtime), "{runtime}");
    }
    for source in ["src/reactor.rs", "src/time_slice.rs"] {
        assert!(!file(source).contains("unsafe"), "{source}");
    }
}
