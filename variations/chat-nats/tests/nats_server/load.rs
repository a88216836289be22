//! Three nodes under load, while one node is killed, and NATS is killed, suspended and restarted.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use probe::wait_until;
use probe::wire::Received;

use crate::client::{AWAY, BACK, Client, TIMEOUT, refused_text};
use crate::nats::{Nats, Node};

/// How many clients each node has, and how many are left after one of the three nodes is killed.
const CLIENTS: usize = 3;
const SURVIVORS: usize = 2 * CLIENTS;

/// How long a client receives before it sends the next message.
const PAUSE: Duration = Duration::from_millis(20);

#[test]
fn each_message_is_delivered_once_to_each_client_in_one_order_or_refused() -> Result<()> {
    let Some(mut nats) = Nats::start(&["-js"])? else { return Ok(()) };
    let mut nodes = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let node = Node::start(nats.addr(), "load", &[])?;
        for _ in 0..CLIENTS {
            let mut client = Client::connect(&node)?;
            client.say("first")?; // after this, its node has accepted it
            clients.push(client);
        }
        nodes.push(node);
    }
    let start = clients[0].say("start")?;
    for client in &mut clients {
        client.wait_for(&start)?;
        client.sent.clear();
        client.received.clear();
    }

    let load = Load::default();
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| load.send_many(client));
        }
        let disturbed = disturb(&mut nats, &mut nodes, &load);
        load.is_over.store(true, Ordering::Relaxed);
        disturbed
    })?;
    let killed = clients.split_off(SURVIVORS);
    let ends = clients.iter_mut().map(|it| it.say("last")).collect::<Result<Vec<_>>>()?;
    for client in &mut clients {
        ends.iter().try_for_each(|end| client.wait_for(end))?;
    }
    account_for(&clients, &killed)
}

/// Kills a node, and makes NATS go away three times.
fn disturb(nats: &mut Nats, nodes: &mut Vec<Node>, load: &Load) -> Result<()> {
    load.wait_for_msgs()?;
    nodes.pop();
    load.wait_for_msgs()?;

    nats.kill();
    nats.restart()?;
    load.wait_for(SURVIVORS, |text| text == BACK)?;
    load.wait_for_msgs()?;

    nats.kill();
    load.wait_for(2 * SURVIVORS, |text| text == AWAY)?;
    load.wait_for_refusals()?;
    nats.restart()?;
    load.wait_for(2 * SURVIVORS, |text| text == BACK)?;
    load.wait_for_msgs()?;

    nats.suspend()?;
    load.wait_for(3 * SURVIVORS, |text| text == AWAY)?;
    load.wait_for_refusals()?;
    nats.resume()?;
    load.wait_for(3 * SURVIVORS, |text| text == BACK)?;
    load.wait_for_msgs()
}

#[derive(Default)]
struct Load {
    /// What all clients together have received.
    received: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl Load {
    /// Lets a client send and receive, until the load is over or its node is killed.
    fn send_many(&self, client: &mut Client) -> Result<()> {
        while !self.is_over.load(Ordering::Relaxed) {
            client.send(&format!("message {}", client.sent.len()))?;
            let seen = client.received.len();
            let end = client.recv_until(PAUSE, |_| false)?;
            let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
            received.extend_from_slice(&client.received[seen..]);
            ensure!(end == Received::Timeout, "the connection has ended");
        }
        Ok(())
    }

    /// Waits until the clients have received this many wanted texts since the start.
    fn wait_for(&self, wanted: usize, is_wanted: impl Fn(&str) -> bool) -> Result<()> {
        let is_enough = wait_until(TIMEOUT, || Ok(self.count(&is_wanted) >= wanted))?;
        ensure!(is_enough, "{} texts were received, not {wanted}", self.count(&is_wanted));
        Ok(())
    }

    /// Waits until the clients have received three thousand messages more.
    fn wait_for_msgs(&self) -> Result<()> {
        let is_msg = |text: &str| !text.starts_with("server: ");
        self.wait_for(self.count(is_msg) + 3000, is_msg)
    }

    /// Waits until a hundred messages more are refused.
    fn wait_for_refusals(&self) -> Result<()> {
        let is_refusal = |text: &str| refused_text(text).is_some();
        self.wait_for(self.count(is_refusal) + 100, is_refusal)
    }

    fn count(&self, is_wanted: impl Fn(&str) -> bool) -> usize {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.iter().filter(|text| is_wanted(text)).count()
    }
}

/// Checks what has happened to each message that was sent.
fn account_for(survivors: &[Client], killed: &[Client]) -> Result<()> {
    let order = survivors[0].msgs();
    let delivered: HashSet<_> = order.iter().copied().collect();
    assert_eq!(order.len(), delivered.len(), "a message was delivered twice");
    let mut refusals = 0;
    for client in survivors {
        let addr = client.addr();
        assert!(client.msgs() == order, "{addr} received other messages, or in another order");
        let refused = client.refused()?;
        let is_refused: HashSet<_> = refused.iter().copied().collect();
        let mut not_refused = client.sent.clone();
        not_refused.retain(|text| !is_refused.contains(&**text));
        let own = client.relayed("");
        let relayed: Vec<_> = order.iter().filter_map(|text| text.strip_prefix(&own)).collect();
        let counts = [client.sent.len(), relayed.len(), refused.len()];
        assert!(
            relayed == not_refused,
            "{addr}: lost or reordered; sent, relayed, refused: {counts:?}"
        );
        assert_eq!(counts[0], counts[1] + counts[2], "{addr}: refused twice");
        refusals += refused.len();
    }
    for client in killed {
        let (addr, msgs) = (client.addr(), client.msgs());
        assert!(!msgs.is_empty(), "{addr}, whose node was killed, received nothing");
        assert!(order.starts_with(&msgs), "{addr}, whose node was killed: another order");
        let mut refused = client.refused()?.into_iter();
        let twice = refused.find(|text| delivered.contains(&*client.relayed(text)));
        assert_eq!(twice, None, "{addr}: refused and delivered");
    }
    let count = order.len();
    assert!(refusals > 0 && count > 1000, "only {refusals} refused, {count} delivered");
    println!("{refusals} refused, {count} delivered to each of {} clients", survivors.len());
    Ok(())
}
