//! The connection to NATS: its address, its settings, and the room's stream.

use std::future::ready;
use std::time::Duration;

use anyhow::{Error, Result, bail, ensure};
use async_nats::jetstream::context::{ContextBuilder, CreateStreamErrorKind};
use async_nats::jetstream::{self, stream};
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use percent_encoding::percent_decode_str;
use tincanchat::printable;
use tokio::sync::mpsc;
use tracing::warn;

/// How long NATS may take to answer. A message without an answer is in doubt.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long NATS remembers the id of a message. During this time, it ignores a second message with the same
/// id.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(10);

/// How long NATS keeps a message, for nodes that are disconnected. A client never gets messages that are
/// older than its connection.
const MAX_AGE: Duration = Duration::from_hours(1);

/// The most bytes that NATS keeps for a room.
const MAX_BYTES: i64 = 64 << 20;

/// How many entries of one node may wait for an answer. Further entries wait before they are sent.
const MAX_UNANSWERED: usize = 4096;

/// Parses a URL of `--nats`.
pub fn nats_url(text: &str) -> Result<ServerAddr> {
    let addr: ServerAddr = text.parse()?;
    ensure!(!addr.host().is_empty(), "the URL has no host");
    let is_nats = matches!(addr.scheme(), "nats" | "tls");
    ensure!(is_nats, "the URL must begin with nats:// or tls://");
    Ok(addr)
}

/// Connects to one of the servers. Sends a value on `lost` when the connection is lost.
///
/// The NATS client could reconnect by itself. But it would keep messages until then, and their senders
/// would not learn that NATS is away.
pub async fn connect(servers: &[ServerAddr], lost: mpsc::Sender<()>) -> Result<Client> {
    let options = ConnectOptions::new()
        .name("chat-nats")
        .max_reconnects(servers.len()) // one attempt for each server
        .connection_timeout(ANSWER_TIMEOUT)
        .request_timeout(Some(ANSWER_TIMEOUT))
        .ping_interval(ANSWER_TIMEOUT)
        .event_callback(move |event| {
            match event {
                // In lame duck mode, the server is about to close its connections.
                Event::Disconnected | Event::Closed | Event::LameDuckMode => {
                    let _ = lost.try_send(()); // an error if the node already knows
                }
                Event::ServerError(err) => {
                    warn!("NATS reports an error: {}", printable(&err.to_string()));
                }
                _ => {}
            }
            ready(())
        });
    Ok(with_credentials(options, servers).connect(servers).await?)
}

/// Adds the user and password, or the token, in the URL of a server to the options. The NATS client ignores
/// them in the URL.
fn with_credentials(options: ConnectOptions, servers: &[ServerAddr]) -> ConnectOptions {
    let credentials = servers.iter().find_map(|addr| Some((addr.username()?, addr.password())));
    match credentials {
        Some((user, Some(password))) => {
            options.user_and_password(percent_decode(user), percent_decode(password))
        }
        Some((token, None)) => options.token(percent_decode(token)),
        None => options,
    }
}

/// Decodes a part of a URL, where `%40` stands for `@` (RFC 3986, section 2.1).
fn percent_decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Returns the `JetStream` interface of a connection.
pub fn jetstream_context(client: &Client) -> jetstream::Context {
    ContextBuilder::new()
        .timeout(ANSWER_TIMEOUT)
        .ack_timeout(ANSWER_TIMEOUT)
        .max_ack_inflight(MAX_UNANSWERED)
        .backpressure_on_inflight(true)
        .build(client.clone())
}

/// Returns the NATS subject of a room.
pub fn subject(room: &str) -> String {
    format!("chat.{room}")
}

/// Opens the stream of a room, or creates it. The settings of an existing stream are not changed.
pub async fn open_stream(context: &jetstream::Context, room: &str) -> Result<stream::Stream> {
    let stream = match context.get_or_create_stream(stream_config(room)).await {
        Err(err) if err.kind() == CreateStreamErrorKind::JetStreamUnavailable => {
            bail!("it runs without JetStream: start it with `nats-server -js`")
        }
        stream => stream?,
    };
    let stream::Config { name, subjects, retention, no_ack, .. } = &stream.cached_info().config;
    let subject = subject(room);
    ensure!(*subjects == [&*subject], "the stream {name} must have the single subject {subject}");
    let keeps_messages = *retention == stream::RetentionPolicy::Limits;
    ensure!(keeps_messages, "the stream {name} deletes messages that have been read");
    ensure!(!no_ack, "the stream {name} does not acknowledge messages");
    Ok(stream)
}

fn stream_config(room: &str) -> stream::Config {
    stream::Config {
        name: format!("CHAT_{room}"),
        subjects: vec![subject(room)],
        storage: stream::StorageType::File,
        discard: stream::DiscardPolicy::Old,
        max_bytes: MAX_BYTES,
        max_age: MAX_AGE,
        duplicate_window: DUPLICATE_WINDOW,
        ..stream::Config::default()
    }
}

/// Returns the text of an error and its causes. Leaves out a cause that the text before it already
/// contains.
pub fn reason(err: &Error) -> String {
    let mut reason = String::new();
    for cause in err.chain().map(ToString::to_string) {
        if reason.is_empty() {
            reason = cause;
        } else if !reason.contains(&cause) {
            reason = format!("{reason}: {cause}");
        }
    }
    reason
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_url_has_a_scheme_and_a_host() {
        for wrong in ["", "nats://", "nats://:4222", "http://host", "ws://host", "host:99999"] {
            assert!(nats_url(wrong).is_err(), "{wrong}");
        }
        assert_eq!(nats_url("tls://[::1]:4222").unwrap().host(), "::1");
    }

    #[test]
    fn credentials_are_percent_decoded() {
        let addr = nats_url("tls://ann:p%40s%2Fs%zz%@[::1]:4222").unwrap();
        assert_eq!(percent_decode(addr.password().unwrap()), "p@s/s%zz%");
    }

    #[test]
    fn a_cause_is_not_repeated() {
        let err = anyhow::anyhow!("refused").context("IO error: refused").context("connecting");
        assert_eq!(reason(&err), "connecting: IO error: refused");
    }
}
