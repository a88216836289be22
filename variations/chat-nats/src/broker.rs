//! The way to NATS: its address, the connection, and the room's stream there.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use async_nats::jetstream::context::{ContextBuilder, CreateStreamErrorKind};
use async_nats::jetstream::{self, stream};
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use tincanchat::printable;
use tokio::sync::mpsc;
use tracing::warn;

/// How long NATS may take to answer before a message is in doubt.
pub const ANSWER: Duration = Duration::from_secs(5);
/// How long NATS remembers a message's id, and takes it no second time.
const REMEMBERED: Duration = Duration::from_mins(10);
/// What NATS keeps for nodes that were away; no client asks for what is older than itself.
const KEPT: Duration = Duration::from_hours(1);
const KEPT_BYTES: i64 = 64 << 20;
/// How many messages may wait for their answer. Those of further clients wait before that.
const IN_FLIGHT: usize = 4096;

/// Where a NATS server is, as `--nats` gives it.
pub fn nats_url(text: &str) -> Result<ServerAddr> {
    let addr: ServerAddr = text.parse()?;
    ensure!(!addr.host().is_empty(), "it names no host");
    ensure!(matches!(addr.scheme(), "nats" | "tls"), "it begins with neither nats:// nor tls://");
    Ok(addr)
}

/// The client of NATS could connect again by itself, but would hold messages back meanwhile.
pub async fn connect(servers: &[ServerAddr], gone: mpsc::Sender<()>) -> Result<Client> {
    let options = ConnectOptions::new()
        .name("chat-nats")
        .max_reconnects(servers.len())
        .connection_timeout(ANSWER)
        .request_timeout(Some(ANSWER))
        .ping_interval(ANSWER)
        .event_callback(move |event| {
            match event {
                Event::Disconnected | Event::Closed | Event::LameDuckMode => {
                    let _ = gone.try_send(());
                }
                Event::ServerError(err) => {
                    warn!("NATS says: {}", printable(&err.to_string()));
                }
                _ => {}
            }
            std::future::ready(())
        });
    Ok(with_name(options, servers).connect(servers).await?)
}

/// The client of NATS takes no notice of a name or token in an address.
fn with_name(options: ConnectOptions, servers: &[ServerAddr]) -> ConnectOptions {
    let named = servers.iter().find_map(|addr| Some((addr.username()?, addr.password())));
    match named {
        Some((user, Some(password))) => options.user_and_password(plain(user), plain(password)),
        Some((token, None)) => options.token(plain(token)),
        None => options,
    }
}

/// In an address, `%40` stands for `@`.
fn plain(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => bytes.extend([&[byte], &part.as_bytes()[2..]].concat()),
            None => bytes.extend([b"%", part.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub fn context(client: &Client) -> jetstream::Context {
    ContextBuilder::new()
        .timeout(ANSWER)
        .ack_timeout(ANSWER)
        .max_ack_inflight(IN_FLIGHT)
        .backpressure_on_inflight(true)
        .build(client.clone())
}

pub fn subject(room: &str) -> String {
    format!("chat.{room}")
}

/// Opens the room's stream, or makes it. One that somebody else has made is left as it is.
pub async fn open(context: &jetstream::Context, room: &str) -> Result<stream::Stream> {
    let stream = match context.get_or_create_stream(config(room)).await {
        Err(err) if err.kind() == CreateStreamErrorKind::JetStreamUnavailable => {
            bail!("it runs without JetStream, which `nats-server -js` has")
        }
        stream => stream?,
    };
    let stream::Config { name, subjects, retention, no_ack, .. } = &stream.cached_info().config;
    ensure!(*subjects == [subject(room)], "the stream {name} is not for {} alone", subject(room));
    let is_log = *retention == stream::RetentionPolicy::Limits;
    ensure!(is_log, "the stream {name} forgets messages that have been read");
    ensure!(!no_ack, "the stream {name} acknowledges nothing");
    Ok(stream)
}

fn config(room: &str) -> stream::Config {
    stream::Config {
        name: format!("CHAT_{room}"),
        subjects: vec![subject(room)],
        storage: stream::StorageType::File,
        discard: stream::DiscardPolicy::Old,
        max_bytes: KEPT_BYTES,
        max_age: KEPT,
        duplicate_window: REMEMBERED,
        ..stream::Config::default()
    }
}

/// What went wrong, and why; what an error says of its cause itself is not said again.
pub fn reason(err: &anyhow::Error) -> String {
    let mut told = String::new();
    for part in err.chain().map(ToString::to_string) {
        match told.contains(&part) {
            true => {}
            false if told.is_empty() => told = part,
            false => told = format!("{told}: {part}"),
        }
    }
    told
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_has_a_host_and_what_is_escaped_in_it_is_meant() {
        for wrong in ["", "nats://", "nats://:4222", "http://host", "ws://host", "host:99999"] {
            assert!(nats_url(wrong).is_err(), "{wrong}");
        }
        let addr = nats_url("tls://ann:p%40s%2Fs%zz%@[::1]:4222").unwrap();
        assert_eq!(addr.host(), "::1");
        assert_eq!(plain(addr.password().unwrap()), "p@s/s%zz%");
    }

    #[test]
    fn a_cause_is_told_once() {
        let err = anyhow::anyhow!("refused").context("IO error: refused").context("connecting");
        assert_eq!(reason(&err), "connecting: IO error: refused");
    }
}
