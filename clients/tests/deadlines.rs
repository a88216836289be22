//! Tests how long `chat-client --tls` waits for a server.
//!
//! `cargo test --workspace` leaves this test out, because it waits ten seconds. Run it with
//!
//! ```sh
//! cargo test -p clients --test deadlines
//! ```
// In a test, a panic reports what went wrong.
#![allow(clippy::unwrap_used)]

mod harness;

use probe::client_process::assert_failed;

use harness::{Authority, REFUSED, connect};

/// A chat server without TLS waits for the zero byte that ends a message.
#[test]
fn a_server_that_does_not_answer_is_refused_after_ten_seconds() {
    let authority = Authority::named("a CA");
    let (client, _server) = connect(&authority, &[], authority.certify("127.0.0.1"));
    assert_failed(
        &client.wait(),
        &format!("{REFUSED}no answer within 10s: does the server speak TLS?"),
    );
}
