//! The room: a `JetStream` stream that all nodes write to and read from. Its sequence is the one order.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail};
use async_nats::jetstream;
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{ServerAddr, header::NATS_MESSAGE_ID};
use futures_util::StreamExt as _;
use tincanchat::{Frame, printable};
use tokio::sync::{mpsc, watch};
use tokio::{task, time};
use tokio_util::bytes::Bytes;
use tracing::{info, warn};

use crate::broker::{self, ANSWER};
use crate::position::{Position, gap_of};

/// The first pause before the next try to reach NATS, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a node that starts waits for NATS before it lets clients in.
const FIRST_TRY: Duration = Duration::from_secs(2);
/// How long a message may be in doubt, if NATS remembers its id for longer. It must not be published again
/// when its id may be forgotten.
const IN_DOUBT: Duration = Duration::from_mins(9);
/// What NATS counts of a message besides its payload is less.
const HEADERS: usize = 512;

pub struct Room {
    name: String,
    servers: Vec<ServerAddr>,
    /// Part of each message's id.
    node: String,
    count: AtomicU64,
    /// The connection to NATS, while there is one that works.
    session: watch::Sender<Option<Session>>,
    tried: watch::Sender<bool>,
    /// A session's number, and what a message found wrong with it.
    broken: watch::Sender<(u64, String)>,
    /// The last message of the stream that this node's clients have been sent.
    relayed: watch::Sender<u64>,
}

#[derive(Clone)]
struct Session {
    number: u64,
    context: jetstream::Context,
    /// How many bytes NATS takes at once.
    most: usize,
    /// How long a message may be in doubt.
    in_doubt: Duration,
}

/// When a message was first published.
struct Begun(Instant, SystemTime);

/// Why a message was not delivered.
pub enum Undelivered {
    /// It is not in the stream, and never will be.
    Refused(String),
    /// It may be in the stream.
    InDoubt,
}

/// What the clients of this node are to be sent.
pub enum Heard {
    /// Messages as they go over the wire; and from which client of this node, if it was one.
    Frames(Frame, Option<u64>),
    /// Something to know of the room: that messages are missing here, say.
    Note(String),
}

impl Room {
    pub fn new(name: &str, servers: &[ServerAddr]) -> Self {
        Self {
            name: name.to_owned(),
            servers: servers.to_vec(),
            node: format!("{:016x}", RandomState::new().hash_one(std::process::id())),
            count: AtomicU64::new(0),
            session: watch::Sender::new(None),
            tried: watch::Sender::new(false),
            broken: watch::Sender::new((0, String::new())),
            relayed: watch::Sender::new(0),
        }
    }

    /// Waits until NATS has been reached or not, but not for long.
    pub async fn first_try(&self) {
        let mut tried = self.tried.subscribe();
        let _ = time::timeout(FIRST_TRY, tried.wait_for(|&is_tried| is_tried)).await;
    }

    /// Waits until NATS is away.
    pub async fn away(&self) {
        let _ = self.session.subscribe().wait_for(Option::is_none).await;
    }

    /// The most bytes that NATS takes at once, as far as that is known.
    pub fn most(&self) -> usize {
        self.session.borrow().as_ref().map_or(usize::MAX, |session| session.most)
    }

    /// Puts messages of a client into the stream, once, and waits until this node has relayed them.
    pub async fn publish(&self, from: u64, frames: Bytes) -> Result<(), Undelivered> {
        let id = format!("{}.{from}.{}", self.node, self.count.fetch_add(1, Ordering::Relaxed));
        let Some(session) = self.session.borrow().clone() else {
            return Err(Undelivered::Refused("NATS is away".to_owned()));
        };
        let mut relayed = self.relayed.subscribe();
        let at_most = session.in_doubt.max(2 * ANSWER);
        let published = time::timeout(at_most, self.publish_once(session, &id, frames)).await;
        let sequence = published.unwrap_or(Err(Undelivered::InDoubt))?;
        let _ = time::timeout(ANSWER, relayed.wait_for(|&last| last >= sequence)).await;
        Ok(())
    }

    /// Publishes as often as it takes: NATS knows the message by its id.
    async fn publish_once(
        &self,
        mut session: Session,
        id: &str,
        frames: Bytes,
    ) -> Result<u64, Undelivered> {
        let (begun, mut is_in_doubt) = (Begun::now(), false);
        loop {
            tokio::select! {
                biased;
                published = self.try_publish(&session, id, frames.clone()) => match published {
                    Ok(sequence) => return Ok(sequence),
                    Err(err) if let Some(why) = refusal(&err) => {
                        return Err(match is_in_doubt {
                            true => Undelivered::InDoubt,
                            false => Undelivered::Refused(why),
                        });
                    }
                    Err(err) => self.give_up(session.number, &err),
                },
                _ = self.session_after(session.number) => {}
            }
            is_in_doubt = true;
            session = self.session_after(session.number).await;
            if begun.age() > session.in_doubt {
                return Err(Undelivered::InDoubt);
            }
        }
    }

    async fn try_publish(
        &self,
        session: &Session,
        id: &str,
        frames: Bytes,
    ) -> Result<u64, PublishError> {
        let message = PublishMessage::build().payload(frames).message_id(id);
        let subject = broker::subject(&self.name);
        Ok(session.context.send_publish(subject, message).await?.await?.sequence)
    }

    /// Ends a session in which a message got no answer.
    fn give_up(&self, number: u64, err: &PublishError) {
        self.broken.send_if_modified(|broken| {
            let is_news = broken.0 < number;
            if is_news {
                *broken = (number, err.to_string());
            }
            is_news
        });
    }

    async fn session_after(&self, number: u64) -> Session {
        let mut sessions = self.session.subscribe();
        let is_later =
            |session: &Option<Session>| session.as_ref().is_some_and(|it| it.number > number);
        match sessions.wait_for(is_later).await.map(|session| session.clone()) {
            Ok(Some(session)) => session,
            _ => std::future::pending().await,
        }
    }

    /// Reads the stream, and connects again whenever NATS has been away; for ever.
    pub async fn carry(&self, relay: impl Fn(Heard)) {
        let (mut position, mut pause, mut told) = (Position::default(), FIRST_PAUSE, String::new());
        for number in 1.. {
            let begun = Instant::now();
            let err = match self.run_session(number, &mut position, &relay).await {
                Ok(never) => match never {},
                Err(err) => err,
            };
            let why = broker::reason(&err);
            if self.session.send_replace(None).is_some() {
                relay(Heard::Note(
                    "NATS is away: messages are refused until it is back".to_owned(),
                ));
                told.clear();
            }
            if begun.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            if told != why {
                let shown = printable(&why);
                warn!("NATS does not carry the room: {shown}; messages are refused until it does");
                told = why;
            }
            self.tried.send_replace(true);
            time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    async fn run_session(
        &self,
        number: u64,
        position: &mut Position,
        relay: &impl Fn(Heard),
    ) -> Result<std::convert::Infallible> {
        let (gone, is_gone) = mpsc::channel(1);
        let client = broker::connect(&self.servers, gone).await.context("connecting")?;
        let context = broker::context(&client);
        let stream = broker::open(&context, &self.name).await?;
        let info = stream.cached_info();
        if let Some(gap) = position.resume(info.created, &info.state) {
            warn!("{gap}");
            relay(Heard::Note(gap));
        }
        self.relayed.send_replace(position.next() - 1);
        let start_sequence = position.next();
        let consumer = stream
            .create_consumer(push::OrderedConfig {
                deliver_subject: client.new_inbox(),
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
                ..push::OrderedConfig::default()
            })
            .await
            .context("the consumer")?;
        let messages = consumer.messages().await.context("the consumer")?;
        let most = client.max_payload().saturating_sub(HEADERS);
        let in_doubt = IN_DOUBT.min(info.config.duplicate_window * 9 / 10);
        self.session.send_replace(Some(Session { number, context, most, in_doubt }));
        self.tried.send_replace(true);
        if number > 1 {
            relay(Heard::Note("NATS is back".to_owned()));
        }
        info!("NATS carries the room {}, from message {start_sequence} on", self.name);
        self.read(messages, number, is_gone, position, relay).await
    }

    async fn read(
        &self,
        mut messages: push::Ordered,
        number: u64,
        mut is_gone: mpsc::Receiver<()>,
        position: &mut Position,
        relay: &impl Fn(Heard),
    ) -> Result<std::convert::Infallible> {
        let mut broken = self.broken.subscribe();
        loop {
            let message = tokio::select! {
                message = messages.next() => message.context("the consumer has ended")??,
                _ = is_gone.recv() => bail!("the connection is lost"),
                Ok(why) = broken.wait_for(|broken| broken.0 >= number) => bail!("{}", why.1),
            };
            let sequence = message.info().map_err(|err| anyhow!("{err}"))?.stream_sequence;
            let Some(missing) = position.take(sequence) else {
                continue; // relayed before
            };
            if missing > 0 {
                let gap = gap_of(missing);
                warn!("{gap}");
                relay(Heard::Note(gap));
            }
            if let Some(frames) = frames(&message.payload) {
                relay(Heard::Frames(frames, self.own_client(&message)));
            } else {
                warn!("message {sequence} of the stream is not of this chat: left out");
            }
            self.relayed.send_replace(sequence);
            task::yield_now().await;
        }
    }

    /// Which client of this node sent a message, if it was one.
    fn own_client(&self, message: &async_nats::Message) -> Option<u64> {
        let id = message.headers.as_ref()?.get(NATS_MESSAGE_ID)?.as_str();
        id.strip_prefix(&self.node)?.strip_prefix('.')?.split('.').next()?.parse().ok()
    }
}

impl Begun {
    fn now() -> Self {
        Self(Instant::now(), SystemTime::now())
    }

    /// The one clock may stand still while the machine sleeps, the other may be set back.
    fn age(&self) -> Duration {
        self.0.elapsed().max(self.1.elapsed().unwrap_or_default())
    }
}

/// Anybody who reaches the NATS server can write to the subject.
fn frames(payload: &[u8]) -> Option<Frame> {
    let is_ours = payload.ends_with(b"\0") && std::str::from_utf8(payload).is_ok();
    is_ours.then(|| payload.into())
}

/// Why NATS has not put a message into the stream, if that is what an error says; else it may have.
fn refusal(err: &PublishError) -> Option<String> {
    match err.kind() {
        // In a cluster, also while its servers choose a new leader.
        PublishErrorKind::StreamNotFound => {
            return Some("NATS does not have the room just now".to_owned());
        }
        PublishErrorKind::MaxPayloadExceeded => {
            return Some("it is longer than this NATS allows".to_owned());
        }
        _ => {}
    }
    let told = std::error::Error::source(err)?.downcast_ref::<jetstream::Error>()?;
    Some(format!("NATS refused it ({told})"))
}
