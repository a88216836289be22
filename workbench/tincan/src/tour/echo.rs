//! The scenes of the two echo stages: the same clients, where the second one waits, and where it does not.

use std::time::{Duration, Instant};

use anyhow::Result;
use probe::fail;
use probe::sockdiag::unread_bytes;
use probe::wire::Received;

use super::demo::{Demo, millis};
use super::page::Page;
use crate::stages::ServerPrograms;

const CLIENTS: [&str; 2] = ["Ann", "Bob"];

/// How long Bob is observed to get no answer, three times in a row.
const SILENCE: Duration = Duration::from_millis(300);

pub fn one_at_a_time(programs: &ServerPrograms, page: &Page) -> Result<()> {
    page.paragraph(
        "A server asks the kernel (the operating system) for a listener, to which clients connect. \
         echo-uni accepts one connection, reads until the message is complete, sends the message \
         back, closes the connection, and only then accepts the next one. A zero byte completes a \
         message. One thread, one line of execution, does all of this. (Each stage has two more \
         threads, for its log and for signals, which are not counted here.)",
    )?;
    let mut demo = Demo::start(programs, page, "echo-uni", &CLIENTS)?;
    ann_begins(&mut demo)?;
    demo.threads()?;
    demo.table.pause("Bob connects and sends a whole message")?;

    let bob = demo.connect()?;
    let begin = Instant::now();
    demo.send(bob, b"hello\0", "sends \"hello\" and the zero byte")?;
    demo.table.print()?;
    for _ in 0..3 {
        demo.expect_silence(bob, SILENCE)?;
        demo.table.print()?;
    }
    expect_not_in_log(&demo, bob)?;
    demo.threads()?;
    let unread = unread_bytes(demo.server.addr(), demo.addr(bob));
    let unread = unread.map(|bytes| format!(" with his {bytes} bytes")).unwrap_or_default();
    demo.table.paragraph(&format!(
        "Bob is connected, because the kernel did that. It keeps his connection{unread} in the \
         listener's backlog, the queue of connections that the server has not accepted yet. The \
         server does not know about Bob: it waits for the rest of Ann's message."
    ))?;
    demo.table.pause("Ann sends the rest")?;

    expect_not_in_log(&demo, bob)?;
    ann_ends(&mut demo, "hello")?;
    demo.table.print()?;
    demo.expect(bob, "hello")?;
    let waited = millis(begin);
    expect_disconnected(&demo, bob)?;
    demo.table.paragraph(&format!(
        "Bob has waited {waited} ms for a server that had nothing to do. A client that connects and \
         sends nothing makes all other clients wait."
    ))
}

pub fn a_thread_for_each(programs: &ServerPrograms, page: &Page) -> Result<()> {
    page.paragraph(
        "echo-multi starts a thread for each client: while one thread waits, the kernel runs the \
         others. The same clients do the same again. (This server puts the address of the client in \
         front of its answer.)",
    )?;
    let mut demo = Demo::start(programs, page, "echo-multi", &CLIENTS)?;
    demo.expect_threads(1)?;
    demo.table.print()?;
    let ann = ann_begins(&mut demo)?;
    demo.expect_threads(2)?;
    demo.table.pause("Bob connects and sends a whole message")?;

    let bob = demo.connect()?;
    demo.expect_accepted(bob)?;
    demo.expect_threads(3)?;
    demo.table.print()?;
    let begin = Instant::now();
    demo.send(bob, b"hello\0", "sends \"hello\" and the zero byte")?;
    let answer = format!("{}: hello", demo.addr(bob));
    demo.expect(bob, &answer)?;
    let waited = millis(begin);
    expect_disconnected(&demo, bob)?;
    demo.expect_threads(2)?;
    demo.table.print()?;
    // Ann has sent half a message, so there cannot be an answer.
    let heard = demo.clients[ann].recv(Duration::from_millis(1))?;
    if heard != Received::Timeout {
        return fail(demo.clients[ann].transcript(), "nothing yet", heard);
    }
    demo.table.pause("Ann sends the rest")?;

    let answer = format!("{}: hello", demo.addr(ann));
    ann_ends(&mut demo, &answer)?;
    demo.expect_threads(1)?;
    demo.table.paragraph(&format!(
        "Bob got his answer within {waited} ms: one thread waited for Ann while another served him. \
         A silent client now costs a thread, but makes no other client wait."
    ))
}

/// Lets Ann send half a message, after the server has accepted her connection.
fn ann_begins(demo: &mut Demo<'_>) -> Result<usize> {
    let ann = demo.connect()?;
    demo.expect_accepted(ann)?;
    demo.table.print()?;
    demo.send(ann, b"hel", "sends \"hel\"")?;
    demo.table.print()?;
    Ok(ann)
}

fn ann_ends(demo: &mut Demo<'_>, answer: &str) -> Result<()> {
    demo.send(0, b"lo\0", "sends \"lo\" and the zero byte")?;
    demo.expect(0, answer)?;
    expect_disconnected(demo, 0)
}

fn expect_disconnected(demo: &Demo<'_>, client: usize) -> Result<()> {
    demo.expect_log(&format!("Client {} disconnected", demo.addr(client)))
}

/// Expects that the server has not accepted the connection of this client yet.
fn expect_not_in_log(demo: &Demo<'_>, client: usize) -> Result<()> {
    let addr = demo.addr(client).to_string();
    match demo.server.log().count(|line| line.contains(&addr)) {
        0 => Ok(()),
        _ => fail("read the log while Bob waited", "no line about Bob", demo.server.log()),
    }
}
