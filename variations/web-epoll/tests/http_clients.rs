//! Tests web-epoll with HTTP clients of other people: curl; wrk, which sends requests on 100 connections
//! for 10 s and must not see an error; and Chromium or Chrome without a window, which must show the page.
//!
//! `cargo test --workspace` leaves this test out, because it needs these programs. Without a program, its
//! test fails where CI is set. Run it with
//!
//! ```sh
//! cargo test -p web-epoll --test http_clients
//! ```
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use probe::report_skipped;
use probe::server::{Launch, Server, Signal};
use tempfile::TempDir;

const PAGE: &str = "Hello from Epoll Server!";

/// How long a client may take. On a busy machine, a browser needs many seconds to start.
const TIMEOUT: Duration = Duration::from_mins(1);

fn start() -> Result<(Server, String)> {
    let server = Launch::new(env!("CARGO_BIN_EXE_web-epoll"), &[]).args(&["-q"]).start()?;
    let url = format!("http://{}", server.addr());
    Ok((server, url))
}

/// Stops the server, and checks that it has not panicked.
fn stop(mut server: Server) -> Result<()> {
    server.signal(Signal::TERM)?;
    server.expect_exit("sent SIGTERM")?;
    let (_, log) = server.output_lines()?;
    assert!(!log.iter().any(|line| line.contains("panic")), "{log:#?}");
    Ok(())
}

/// Runs a client and returns its standard output, without the last line break. The client must exit with
/// code 0.
fn run(program: &str, args: &[&str]) -> Result<String> {
    let mut client = Launch::new(program, &[]).args(args).start_without_waiting()?;
    let status = client.wait(TIMEOUT)?;
    let output = || format!("{program} {args:?}: {status:?}\n{}", client.last_output());
    assert!(status.is_some_and(|status| status.success()), "{}", output());
    Ok(client.output_lines().with_context(output)?.0.join("\n"))
}

/// Returns the first of these programs that can be run.
fn installed(programs: &[&'static str]) -> Option<&'static str> {
    let can_run = |program: &&&str| Command::new(program).arg("--version").output().is_ok();
    programs.iter().find(can_run).copied()
}

#[test]
fn curl_gets_the_page_or_the_right_error() -> Result<()> {
    if installed(&["curl"]).is_none() {
        return report_skipped("curl is not installed");
    }
    let (server, url) = start()?;
    let url = url.as_str();
    let curl = |args: &[&str]| {
        run("curl", &[&["--silent", "--show-error", "--max-time", "20"], args].concat())
    };
    let code = |args: &[&str]| {
        curl(&[&["--output", "/dev/null", "--write-out", "%{http_code}"], args].concat())
    };
    assert_eq!(curl(&[&format!("{url}/a?b=c")])?, PAGE);

    // Three requests on one connection: the second number counts the connections that curl has made.
    let form = " %{http_code} %{num_connects}\n";
    let answers =
        curl(&["--write-out", form, url, &format!("{url}/two"), &format!("{url}/three")])?;
    assert_eq!(answers, format!("{PAGE} 200 1\n{PAGE} 200 0\n{PAGE} 200 0"));

    let head = curl(&["--head", url])?;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Length: 24\r\n"), "{head}");

    assert_eq!(code(&["--data", &"x".repeat(1000), url])?, "405");
    let folder = TempDir::new()?;
    let big = folder.path().join("big");
    fs::write(&big, "x".repeat(2_000_000))?;
    let big = format!("@{}", big.to_str().unwrap());
    // Before a long body, curl waits for `100 Continue` or for a final answer.
    assert_eq!(code(&["--data-binary", &big, url])?, "405");
    let chunked = ["--request", "GET", "--header", "Transfer-Encoding: chunked", "--data-binary"];
    assert_eq!(code(&[&chunked[..], &[&big, url]].concat())?, "200");

    assert_eq!(curl(&["--http1.0", url])?, PAGE);
    let kept = ["--http1.0", "--header", "Connection: keep-alive", url, url];
    assert_eq!(curl(&kept)?, PAGE.repeat(2));
    // The server does not accept the upgrade that curl offers.
    assert_eq!(curl(&["--http2", url])?, PAGE);
    assert_eq!(code(&["--header", "Host:", url])?, "400");
    assert_eq!(code(&[&format!("{url}/{}", "a".repeat(10_000))])?, "414");
    assert_eq!(code(&["--header", &format!("Long: {}", "a".repeat(20_000)), url])?, "431");
    let fields: Vec<_> = (0..120).map(|i| format!("Field-{i}: 1")).collect();
    let many: Vec<_> = fields.iter().flat_map(|field| ["--header", field]).chain([url]).collect();
    assert_eq!(code(&many)?, "431");
    // A proxy gets the whole URI.
    assert_eq!(curl(&["--proxy", url, "http://example.org/"])?, PAGE);
    stop(server)
}

#[test]
fn wrk_sees_no_error_on_100_connections() -> Result<()> {
    if installed(&["wrk"]).is_none() {
        return report_skipped("wrk is not installed");
    }
    let (server, url) = start()?;
    // Without a limit of its own, wrk counts an answer that takes more than 2 s as an error.
    let wrk = |args: &[&str]| {
        let printed = run(
            "wrk",
            &[&["--threads", "2", "--connections", "100", "--timeout", "30s"], args].concat(),
        )?;
        let has_errors = printed.contains("Socket errors") || printed.contains("Non-2xx");
        assert!(!has_errors, "{printed}");
        anyhow::Ok(printed)
    };
    let printed = wrk(&["--duration", "10s", "--latency", &url])?;
    let (before, _) = printed.split_once(" requests in").context(printed.clone())?;
    let requests: u64 = before.rsplit([' ', '\n']).next().unwrap().parse()?;
    assert!(requests > 1000, "{printed}");
    // Without keep-alive, each request is a connection.
    wrk(&["--duration", "2s", "--header", "Connection: close", &url])?;
    stop(server)
}

#[test]
fn a_browser_shows_the_page() -> Result<()> {
    let browsers = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let Some(browser) = installed(&browsers) else {
        return report_skipped("neither Chromium nor Chrome is installed");
    };
    let (server, url) = start()?;
    let profile = TempDir::new()?;
    let html = run(
        browser,
        &[
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            &format!("--user-data-dir={}", profile.path().display()),
            "--virtual-time-budget=5000",
            "--dump-dom",
            &format!("{url}/any/path"),
        ],
    )?;
    let (_, body) = html.split_once("<body").context(html.clone())?;
    assert!(body.split("</body>").next().unwrap().contains(PAGE), "{html}");
    stop(server)
}
