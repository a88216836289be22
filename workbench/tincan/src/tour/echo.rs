//! The scenes of the two echo stages: the same clients, and one that waits or does not.

use std::time::{Duration, Instant};

use anyhow::Result;
use probe::fail;
use probe::sockdiag::unread_bytes;
use probe::wire::Heard;

use super::act::{Act, millis};
use super::page::Page;
use crate::stages::Stages;

const CAST: [&str; 2] = ["Ann", "Bob"];

/// How long to look whether Bob is answered, each of three times.
const LOOK: Duration = Duration::from_millis(300);

pub fn one_at_a_time(stages: &Stages, page: &Page) -> Result<()> {
    page.prose(
        "A server asks the kernel (the operating system) for a listener, the place that \
         connections come to. echo-uni takes one connection from it, reads until the message is \
         complete, sends it back, hangs up, and only then takes the next. A zero byte completes a \
         message. All that is done by one thread, one line of execution. (Two helpers that every \
         stage has, for its log and for signals, are not counted here.)",
    )?;
    let mut act = Act::open(stages, page, "echo-uni", &CAST)?;
    ann_begins(&mut act)?;
    act.threads()?;
    act.lanes.pause("Bob connects and sends a whole message")?;

    let bob = act.connect()?;
    let begin = Instant::now();
    act.send(bob, b"hello\0", "sends \"hello\" and the zero byte")?;
    act.lanes.show()?;
    for _ in 0..3 {
        act.expect_silence(bob, LOOK)?;
        act.lanes.show()?;
    }
    not_in_the_log(&act, bob)?;
    act.threads()?;
    let unread = unread_bytes(act.server.addr(), act.addr(bob));
    let unread = unread.map(|bytes| format!(" with his {bytes} bytes")).unwrap_or_default();
    act.lanes.prose(&format!(
        "Bob is connected: the kernel did that. It keeps his connection{unread} in the \
         listener's backlog, the queue of those whom the server has not taken yet. The server \
         knows nothing of Bob; it waits for the rest of Ann's message."
    ))?;
    act.lanes.pause("Ann sends the rest")?;

    not_in_the_log(&act, bob)?;
    ann_ends(&mut act, "hello")?;
    act.lanes.show()?;
    act.expect(bob, "hello")?;
    let waited = millis(begin);
    expect_gone(&act, bob)?;
    act.lanes.prose(&format!(
        "Bob has waited {waited} ms for a server that had nothing to do. Whoever connects and says \
         nothing keeps all others waiting."
    ))
}

pub fn a_thread_for_each(stages: &Stages, page: &Page) -> Result<()> {
    page.prose(
        "echo-multi starts a thread for each client: while one thread waits, the kernel runs the \
         others. The same clients do the same again. (Its answers say in front whose message it \
         was.)",
    )?;
    let mut act = Act::open(stages, page, "echo-multi", &CAST)?;
    act.expect_threads(1)?;
    act.lanes.show()?;
    let ann = ann_begins(&mut act)?;
    act.expect_threads(2)?;
    act.lanes.pause("Bob connects and sends a whole message")?;

    let bob = act.connect()?;
    act.expect_known(bob)?;
    act.expect_threads(3)?;
    act.lanes.show()?;
    let begin = Instant::now();
    act.send(bob, b"hello\0", "sends \"hello\" and the zero byte")?;
    let answer = format!("{}: hello", act.addr(bob));
    act.expect(bob, &answer)?;
    let waited = millis(begin);
    expect_gone(&act, bob)?;
    act.expect_threads(2)?;
    act.lanes.show()?;
    // Ann has sent half a message, and nothing can have come back.
    let heard = act.clients[ann].hear(Duration::from_millis(1))?;
    if heard != Heard::Silence {
        return fail(act.clients[ann].transcript(), "nothing yet", heard);
    }
    act.lanes.pause("Ann sends the rest")?;

    let answer = format!("{}: hello", act.addr(ann));
    ann_ends(&mut act, &answer)?;
    act.expect_threads(1)?;
    act.lanes.prose(&format!(
        "Bob had his answer within {waited} ms: one thread waited for Ann while another served him. \
         A silent client costs a thread now, and nobody's time."
    ))
}

/// Ann sends half a message, and the server is known to have taken her.
fn ann_begins(act: &mut Act<'_>) -> Result<usize> {
    let ann = act.connect()?;
    act.expect_known(ann)?;
    act.lanes.show()?;
    act.send(ann, b"hel", "sends \"hel\"")?;
    act.lanes.show()?;
    Ok(ann)
}

fn ann_ends(act: &mut Act<'_>, answer: &str) -> Result<()> {
    act.send(0, b"lo\0", "sends \"lo\" and the zero byte")?;
    act.expect(0, answer)?;
    expect_gone(act, 0)
}

fn expect_gone(act: &Act<'_>, who: usize) -> Result<()> {
    act.expect_log(&format!("Client {} disconnected", act.addr(who)))
}

/// The server must not have taken this client yet.
fn not_in_the_log(act: &Act<'_>, who: usize) -> Result<()> {
    let addr = act.addr(who).to_string();
    match act.server.log().count(|line| line.contains(&addr)) {
        0 => Ok(()),
        _ => fail("read the log while Bob waited", "no word of Bob", act.server.log()),
    }
}
