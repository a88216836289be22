//! The room: a `JetStream` stream that all nodes write and read. NATS numbers the entries of the stream,
//! and these numbers are the order of the messages.

use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use std::{convert::Infallible, error::Error as _, future, process, str};

use anyhow::{Context as _, Result, anyhow, bail};
use async_nats::jetstream;
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{ServerAddr, header::NATS_MESSAGE_ID};
use bytes::Bytes;
use futures_lite::StreamExt as _;
use tincanchat::printable;
use tokio::sync::{mpsc, watch};
use tokio::task;
use tokio::time::{self, timeout};
use tracing::{info, warn};

use crate::broker::{self, ANSWER_TIMEOUT};
use crate::position::{Position, gap_note};

/// The pause after the first failed attempt to connect to NATS. It doubles with each further attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a node that starts waits for NATS before it accepts clients.
const FIRST_ATTEMPT: Duration = Duration::from_secs(2);

/// How long a message may be in doubt. It is less than the time for which NATS remembers the message's id:
/// after that, NATS would store the message a second time.
const MAX_IN_DOUBT: Duration = Duration::from_mins(9);

/// NATS counts fewer bytes than this for a message in addition to its payload.
const HEADER_BYTES: usize = 512;

pub struct Room {
    name: String,
    servers: Vec<ServerAddr>,
    /// A random number. It is part of each message's id, so that no two nodes use the same id.
    node: String,
    /// The number of the next message, which is part of its id.
    next_number: AtomicU64,
    /// The session with NATS, or `None` while NATS is away.
    session: watch::Sender<Option<Session>>,
    /// Whether the first attempt to connect is over.
    has_tried: watch::Sender<bool>,
    /// The last session in which NATS did not answer a message.
    broken: watch::Sender<BrokenSession>,
    /// The sequence number of the last entry that this node has relayed to its clients.
    relayed: watch::Sender<u64>,
}

/// A session with NATS: it begins with a connection, and ends with it.
#[derive(Clone)]
struct Session {
    number: u64,
    context: jetstream::Context,
    /// The most bytes that NATS accepts in one message.
    max_bytes: usize,
    max_in_doubt: Duration,
}

#[derive(Default)]
struct BrokenSession {
    number: u64,
    reason: String,
}

/// Why a message was not delivered.
pub enum Undelivered {
    /// It is not in the stream, and never will be.
    Refused(String),
    /// It may be in the stream.
    InDoubt,
}

/// An event in the room that concerns the clients of this node.
pub enum RoomEvent {
    /// Messages in the form in which they are sent to clients. If they are from a client of this node,
    /// `from` is its number.
    Batch { from: Option<u64>, batch: Bytes },
    /// A note about the room: for example, that messages are missing.
    Note(String),
}

impl Room {
    pub fn new(name: &str, servers: &[ServerAddr]) -> Self {
        Self {
            name: name.to_owned(),
            servers: servers.to_vec(),
            node: format!("{:016x}", RandomState::new().hash_one(process::id())),
            next_number: AtomicU64::new(0),
            session: watch::Sender::new(None),
            has_tried: watch::Sender::new(false),
            broken: watch::Sender::default(),
            relayed: watch::Sender::new(0),
        }
    }

    /// Waits until the first attempt to connect to NATS is over, for up to 2 s.
    pub async fn first_attempt(&self) {
        let mut has_tried = self.has_tried.subscribe();
        let _ = timeout(FIRST_ATTEMPT, has_tried.wait_for(|&has_tried| has_tried)).await;
    }

    /// Waits until NATS is away.
    pub async fn away(&self) {
        let _ = self.session.subscribe().wait_for(Option::is_none).await;
    }

    /// Returns the most bytes that NATS accepts in one message, or `usize::MAX` while NATS is away.
    pub fn max_bytes(&self) -> usize {
        self.session.borrow().as_ref().map_or(usize::MAX, |session| session.max_bytes)
    }

    /// Adds an entry to the stream exactly once, and waits until this node has relayed it.
    pub async fn publish(&self, from: u64, entry: Bytes) -> Result<(), Undelivered> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}.{from}.{number}", self.node);
        let Some(session) = self.session.borrow().clone() else {
            return Err(Undelivered::Refused("NATS is away".to_owned()));
        };
        let mut relayed = self.relayed.subscribe();
        let limit = session.max_in_doubt.max(2 * ANSWER_TIMEOUT);
        let sequence = match timeout(limit, self.publish_once(session, &id, entry)).await {
            Ok(published) => published?,
            Err(_) => return Err(Undelivered::InDoubt),
        };
        let _ = timeout(ANSWER_TIMEOUT, relayed.wait_for(|&last| last >= sequence)).await;
        Ok(())
    }

    /// Sends an entry in one session after another until NATS answers. NATS recognizes the entry by its id,
    /// and stores it only once. Returns the entry's sequence number.
    async fn publish_once(
        &self,
        mut session: Session,
        id: &str,
        entry: Bytes,
    ) -> Result<u64, Undelivered> {
        let start = StartTime::now();
        let mut is_in_doubt = false;
        loop {
            tokio::select! {
                biased; // an answer counts, even if there is also a new session
                published = self.try_publish(&session, id, entry.clone()) => match published {
                    Ok(sequence) => return Ok(sequence),
                    Err(err) => match refusal(&err) {
                        // An attempt before this one may have succeeded.
                        Some(_) if is_in_doubt => return Err(Undelivered::InDoubt),
                        Some(reason) => return Err(Undelivered::Refused(reason)),
                        None => self.end_session(session.number, &err),
                    },
                },
                _ = self.session_after(session.number) => {}
            }
            is_in_doubt = true;
            session = self.session_after(session.number).await;
            if start.elapsed() > session.max_in_doubt {
                return Err(Undelivered::InDoubt);
            }
        }
    }

    async fn try_publish(
        &self,
        session: &Session,
        id: &str,
        entry: Bytes,
    ) -> Result<u64, PublishError> {
        let message = PublishMessage::build().payload(entry).message_id(id);
        let subject = broker::subject(&self.name);
        let answer = session.context.send_publish(subject, message).await?;
        Ok(answer.await?.sequence)
    }

    /// Ends a session in which NATS did not answer a message.
    fn end_session(&self, number: u64, err: &PublishError) {
        self.broken.send_if_modified(|broken| {
            if broken.number >= number {
                return false; // this session has already been ended
            }
            *broken = BrokenSession { number, reason: err.to_string() };
            true
        });
    }

    /// Waits for a session with a greater number.
    async fn session_after(&self, number: u64) -> Session {
        let mut session = self.session.subscribe();
        loop {
            if let Some(session) = &*session.borrow_and_update()
                && session.number > number
            {
                return session.clone();
            }
            if session.changed().await.is_err() {
                future::pending::<()>().await; // the room is gone: nothing will change any more
            }
        }
    }

    /// Connects to NATS, reads the stream, and connects again whenever NATS has been away. Never returns.
    pub async fn run(&self, relay: impl Fn(RoomEvent)) {
        let mut position = Position::default();
        let mut pause = FIRST_PAUSE;
        let mut logged = String::new();
        for number in 1.. {
            let start = Instant::now();
            let Err(err) = self.run_session(number, &mut position, &relay).await;
            let was_connected = self.session.send_replace(None).is_some();
            if was_connected {
                let note = "NATS is away: messages are refused until it is back";
                relay(RoomEvent::Note(note.to_owned()));
                logged.clear();
            }
            let reason = broker::reason(&err);
            if reason != logged {
                let shown = printable(&reason);
                warn!("NATS is away: {shown}; messages are refused until it is back");
                logged = reason; // later attempts that fail for the same reason are not logged
            }
            self.has_tried.send_replace(true);
            if start.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    /// Connects to NATS, and reads the stream until NATS goes away. Returns the reason why it is away.
    async fn run_session(
        &self,
        number: u64,
        position: &mut Position,
        relay: &impl Fn(RoomEvent),
    ) -> Result<Infallible> {
        let (lost, is_lost) = mpsc::channel(1);
        let client = broker::connect(&self.servers, lost).await.context("connecting")?;
        let context = broker::jetstream_context(&client);
        let stream = broker::open_stream(&context, &self.name).await?;
        let stream_info = stream.cached_info();
        if let Some(note) = position.resume(stream_info.created, &stream_info.state) {
            warn!("{note}");
            relay(RoomEvent::Note(note));
        }
        let start_sequence = position.next();
        self.relayed.send_replace(start_sequence - 1);
        let consumer_config = push::OrderedConfig {
            deliver_subject: client.new_inbox(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
            ..push::OrderedConfig::default()
        };
        let consumer = stream.create_consumer(consumer_config).await.context("the consumer")?;
        let messages = consumer.messages().await.context("the consumer")?;
        let max_bytes = client.max_payload().saturating_sub(HEADER_BYTES);
        let max_in_doubt = MAX_IN_DOUBT.min(stream_info.config.duplicate_window * 9 / 10);
        self.session.send_replace(Some(Session { number, context, max_bytes, max_in_doubt }));
        self.has_tried.send_replace(true);
        if number > 1 {
            relay(RoomEvent::Note("NATS is back".to_owned()));
        }
        info!("Connected to NATS: reading the room {} from entry {start_sequence}", self.name);
        self.read(messages, number, is_lost, position, relay).await
    }

    /// Relays the entries of the stream.
    async fn read(
        &self,
        mut messages: push::Ordered,
        number: u64,
        mut is_lost: mpsc::Receiver<()>,
        position: &mut Position,
        relay: &impl Fn(RoomEvent),
    ) -> Result<Infallible> {
        let mut broken = self.broken.subscribe();
        let mut is_broken = pin!(broken.wait_for(|broken| broken.number >= number));
        loop {
            let message = tokio::select! {
                message = messages.next() => message.context("the consumer has ended")??,
                _ = is_lost.recv() => bail!("the connection is lost"),
                Ok(broken) = &mut is_broken => bail!("{}", broken.reason),
            };
            let sequence = message.info().map_err(|err| anyhow!("{err}"))?.stream_sequence;
            let Some(missing) = position.advance(sequence) else {
                continue; // this entry has been relayed before
            };
            if missing > 0 {
                let note = gap_note(missing);
                warn!("{note}");
                relay(RoomEvent::Note(note));
            }
            if is_batch(&message.payload) {
                // Copied: the payload is a part of a larger buffer of the NATS client, which would stay in
                // memory as long as the batch is queued for a slow client.
                let batch = Bytes::copy_from_slice(&message.payload);
                relay(RoomEvent::Batch { from: self.sender(&message), batch });
            } else {
                warn!("entry {sequence} of the room is not a batch of messages: left out");
            }
            self.relayed.send_replace(sequence);
            task::yield_now().await; // the clients' tasks get a turn, even if the stream never ends
        }
    }

    /// Returns the number of the client that has sent a message, if it is a client of this node.
    fn sender(&self, message: &async_nats::Message) -> Option<u64> {
        let id = message.headers.as_ref()?.get(NATS_MESSAGE_ID)?.as_str();
        let (node, id) = id.split_once('.')?;
        let (from, _number) = id.split_once('.')?;
        if node != self.node {
            return None;
        }
        from.parse().ok()
    }
}

/// The time when a message was first published.
struct StartTime {
    instant: Instant,
    system_time: SystemTime,
}

impl StartTime {
    fn now() -> Self {
        Self { instant: Instant::now(), system_time: SystemTime::now() }
    }

    /// Returns the time since then, by the clock that has advanced more: one may stop while the machine is
    /// suspended, the other may be set back.
    fn elapsed(&self) -> Duration {
        self.instant.elapsed().max(self.system_time.elapsed().unwrap_or_default())
    }
}

/// Reports whether an entry consists of whole messages. It may not, because any client of the NATS server
/// can write to the subject.
fn is_batch(payload: &[u8]) -> bool {
    payload.ends_with(b"\0") && str::from_utf8(payload).is_ok()
}

/// Returns the reason why NATS has not added a message to the stream, if the error says that it has not.
/// After any other error, the message may be in the stream.
fn refusal(err: &PublishError) -> Option<String> {
    match err.kind() {
        // In a cluster, this also happens while its servers elect a leader.
        PublishErrorKind::StreamNotFound => {
            Some("NATS does not have the room at present".to_owned())
        }
        PublishErrorKind::MaxPayloadExceeded => {
            Some("it is longer than this NATS server allows".to_owned())
        }
        _ => {
            let answer = err.source()?.downcast_ref::<jetstream::Error>()?;
            Some(format!("NATS refused it ({answer})"))
        }
    }
}
