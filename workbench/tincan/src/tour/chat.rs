//! The scenes of the three chat stages: one room, kept by threads, by a loop, and by tasks.

use std::time::Instant;

use anyhow::Result;
use probe::fail;
use probe::wire::{Client, Heard, framed, show};

use super::act::{Act, megabytes, memory, millis};
use super::page::Page;
use crate::stages::Stages;

const THREE: [&str; 3] = ["Ann", "Bob", "Cy"];

/// Those who come later have no lane of their own.
const CROWD: [&str; 3] = ["Ann", "Bob", "Cy and guests"];

/// How many come after the first three.
const GUESTS: usize = 47;

pub fn a_room_of_three(stages: &Stages, page: &Page) -> Result<()> {
    page.prose(
        "In a chat, all hear what one says, so the threads have to reach all clients. Here each \
         client has two threads and a queue. One thread receives what the client says and puts it \
         into everybody's queue; a lock lets only one at a time do that. The other sends what is \
         in the client's own queue.",
    )?;
    let mut act = Act::open(stages, page, "chat-threads", &THREE)?;
    act.expect_threads(1)?;
    act.lanes.show()?;
    (0..3).try_for_each(|_| act.join())?;
    act.expect_threads(7)?;
    act.lanes.pause("all three speak at once")?;

    speak_at_once(&mut act)?;
    act.lanes.prose(
        "All have heard the three messages in one order, the same for everybody: whoever gets the \
         lock first is first for all. (The log may have another order: each thread writes its line \
         before it asks for the lock.)",
    )?;
    act.lanes.page.prose(
        "Next, Cy stops reading. A server that wrote to one client after the other would soon be \
         stuck in its write to Cy, and nobody would hear anything more: one silent reader freezes \
         the room.",
    )?;
    act.lanes.pause("Cy stops reading, and Ann says much")?;
    silent_reader(&mut act)
}

/// All clients send before anybody reads; what they hear must be the same.
fn speak_at_once(act: &mut Act<'_>) -> Result<()> {
    const TEXTS: [&str; 3] = ["one", "two", "three"];
    for (who, text) in TEXTS.iter().enumerate() {
        act.send(who, &framed(text), &format!("says {text}"))?;
    }
    for (who, text) in TEXTS.iter().enumerate() {
        act.expect_log(&format!("{}: {text}", act.addr(who)))?;
    }
    act.lanes.show()?;
    for _ in TEXTS {
        let first = act.clients[0].frame()?;
        let text = String::from_utf8_lossy(&first).into_owned();
        act.lanes.note(0, format!("gets {text}"));
        (1..3).try_for_each(|who| act.expect(who, &text))?;
        act.lanes.show()?;
    }
    Ok(())
}

/// Ann talks until the server lets Cy go, who does not read; Bob must hear all of it meanwhile.
fn silent_reader(act: &mut Act<'_>) -> Result<()> {
    let before = act.server.figures();
    let (said, slowest) = talk_until_cut_off(act)?;
    let cy = act.addr(2);
    act.expect_log(&format!("Client {cy} disconnected"))?;
    act.lanes.show()?;
    let (frames, end) = act.clients.remove(2).rest()?;
    let end = if end == Heard::Eof { "the end" } else { "a reset" };
    let kept: usize = frames.iter().map(|frame| frame.len() + 1).sum();
    let kept = megabytes(u64::try_from(kept)?);
    act.lanes.note(2, format!("reads {kept} at last, then {end}"));
    act.lanes.show()?;
    act.say(1, "still here")?;
    act.expect_threads(5)?;
    let grown = act.server.figures().zip(before);
    let grown = grown.map(|(now, then)| megabytes(now.resident.saturating_sub(then.resident)));
    let grown = grown
        .map(|grown| format!(" Since Cy stopped reading, its memory has grown by {grown}."))
        .unwrap_or_default();
    act.lanes.prose(&format!(
        "Only Cy's own sending thread was stuck. The kernel's buffers took what they could for him; \
         then his queue filled up, and the server let him go rather than keep everything for ever.\
         {grown} Of the {} that Ann said meanwhile, no message took longer than {slowest} ms to \
         reach her and Bob.",
        megabytes(said),
    ))
}

/// Gives how many bytes were said, and the milliseconds that the slowest messages took.
fn talk_until_cut_off(act: &mut Act<'_>) -> Result<(u64, u128)> {
    /// More than any kernel keeps for a connection.
    const ENOUGH: u64 = 256_000_000;
    /// Half of what may wait for one client, so that who reads is never cut off.
    const AT_ONCE: usize = 8;
    let text = "x".repeat(16_000);
    let relay = format!("{}: {text}", act.addr(0)).into_bytes();
    let batch = framed(&text).repeat(AT_ONCE);
    let cy = act.addr(2).to_string();
    let is_cut_off = |line: &str| line.contains("WARN") && line.contains(&cy);
    let (mut said, mut slowest, mut shown_at) = (0, 1, 1_000_000);
    while act.server.log().count(is_cut_off) == 0 {
        if said > ENOUGH {
            return fail("let Cy not read", "a warning, and that he is let go", act.server.log());
        }
        let begin = Instant::now();
        act.clients[0].send(&batch)?;
        for listener in &mut act.clients[..2] {
            (0..AT_ONCE).try_for_each(|_| expect_frame(listener, &relay))?;
        }
        slowest = slowest.max(millis(begin));
        said += u64::try_from(batch.len())?;
        if said >= shown_at {
            note_progress(act, said)?;
            shown_at *= 2;
        }
    }
    note_progress(act, said)?;
    Ok((said, slowest))
}

fn note_progress(act: &mut Act<'_>, said: u64) -> Result<()> {
    act.lanes.note(0, format!("said {}", megabytes(said)));
    act.lanes.note(1, "heard it all");
    act.lanes.stress(2, "reads nothing");
    act.lanes.note(act.lanes.server(), format!("= {} of memory", memory(act.server.figures())));
    act.lanes.show()
}

fn expect_frame(client: &mut Client, expected: &[u8]) -> Result<()> {
    let frame = client.frame()?;
    if frame == expected {
        return Ok(());
    }
    fail(client.transcript(), show(expected), show(&frame))
}

pub fn one_loop(stages: &Stages, page: &Page) -> Result<()> {
    page.prose(
        "chat-poll does the same with one thread. It asks the kernel which of all its connections \
         can be read or written now, without waiting (their readiness), does what can be done at \
         once, and asks again. A table keeps what each client has half said and has yet to get.",
    )?;
    let (few, many) = three_and_fifty(stages, page, "chat-poll")?;
    match few.zip(many) {
        Some((few, many)) if few != 1 || many != 1 => {
            fail("counted the threads of chat-poll", "1 and 1", format!("{few} and {many}"))
        }
        Some(_) => page.prose(
            "One thread, with three clients and with fifty. It serves them all because it waits \
             for none of them, only for all at once.",
        ),
        None => page.prose("It serves them all because it waits for none of them."),
    }
}

pub fn tasks(stages: &Stages, page: &Page) -> Result<()> {
    page.prose(
        "chat-async reads like chat-threads, with tasks in the place of threads. A task is a \
         function that can stop half-way, where it would have to wait, and lend its thread to \
         another. A few threads, whose number depends on the processors, run all tasks.",
    )?;
    let processors = std::thread::available_parallelism()?;
    match three_and_fifty(stages, page, "chat-async")? {
        (Some(few), Some(many)) if many > few => {
            fail("counted the threads of chat-async", format!("{few} as before"), many)
        }
        (Some(few), Some(many)) => page.prose(&format!(
            "Two tasks for each client, and {few} threads with three clients, {many} with fifty: \
             one to listen, one to ask the kernel what is ready, and the rest for the tasks \
             (processors here: {processors})."
        )),
        _ => page.prose("A client costs two tasks, and no thread."),
    }
}

/// The threads with three clients, and with fifty.
fn three_and_fifty(
    stages: &Stages,
    page: &Page,
    stage: &str,
) -> Result<(Option<u64>, Option<u64>)> {
    let mut act = Act::open(stages, page, stage, &CROWD)?;
    (0..3).try_for_each(|_| act.join())?;
    let few = act.threads()?;
    act.lanes.pause(&format!("{GUESTS} more join"))?;
    guests_join(&mut act)?;
    hear_all(&mut act, "hi all")?;
    let many = act.threads()?;
    act.lanes.end()?;
    Ok((few, many))
}

/// Guests connect, and each says a word and hears it: then it is in.
fn guests_join(act: &mut Act<'_>) -> Result<()> {
    act.lanes.note(2, format!("{GUESTS} guests connect"));
    for _ in 0..GUESTS {
        let client = Client::connect(act.server.addr())?;
        act.lanes.name(client.addr(), "a guest");
        act.clients.push(client);
    }
    for guest in 3..act.clients.len() {
        act.expect_known(guest)?;
    }
    act.lanes.show()?;
    act.lanes.note(2, "each guest says hi");
    for guest in 3..act.clients.len() {
        let relay = format!("{}: hi", act.addr(guest)).into_bytes();
        act.clients[guest].say("hi")?;
        hear_until(&mut act.clients[guest], &relay)?;
    }
    for guest in 3..act.clients.len() {
        act.expect_log(&format!("{}: hi", act.addr(guest)))?;
    }
    act.lanes.show()
}

/// Ann says something, and all must hear it, after what they have not read yet.
fn hear_all(act: &mut Act<'_>, text: &str) -> Result<()> {
    let relay = format!("{}: {text}", act.addr(0));
    act.send(0, &framed(text), &format!("says {text}"))?;
    act.expect_log(&relay)?;
    act.lanes.show()?;
    for client in &mut act.clients {
        hear_until(client, relay.as_bytes())?;
    }
    for who in 0..2 {
        act.lanes.note(who, format!("gets {relay}"));
    }
    act.lanes.note(2, format!("all {} get {relay}", act.clients.len() - 2));
    act.lanes.show()
}

fn hear_until(client: &mut Client, expected: &[u8]) -> Result<()> {
    while client.frame()? != expected {}
    Ok(())
}
