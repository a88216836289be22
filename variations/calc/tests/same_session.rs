//! The lesson: both sessions are the same but for `async` and `await`, on a reactor of one screen or two.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn sessions() -> (String, String) {
    (file("src/bin/calc-blocking/session.rs"), file("src/bin/calc-reactor/session.rs"))
}

#[test]
fn the_sessions_differ_by_async_and_await() {
    let (blocking, reactor) = sessions();
    assert_ne!(blocking, reactor);
    assert_eq!(reactor.replace(".await", "").replace("async fn", "fn"), blocking);
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
fn the_reactor_has_at_most_150_lines_and_no_runtime() {
    assert!(file("src/reactor.rs").lines().count() <= 150);
    for runtime in ["tokio", "async-std", "smol", "futures"] {
        assert!(!file("Cargo.toml").contains(runtime), "{runtime}");
    }
    for source in ["src/reactor.rs", "src/sock.rs", "src/pace.rs"] {
        assert!(!file(source).contains("unsafe"), "{source}");
    }
}
